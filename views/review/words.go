package review

import "fmt"

func address(decided bool) string {
	if decided {
		return "/reviews/history"
	}
	return "/reviews"
}

func mineLabel(decided bool) string {
	if decided {
		return "Decided by me"
	}
	return "Held by me"
}

func listLabel(l List) string {
	if l.Decided {
		return "Decided requests"
	}
	return "Requests that wait"
}

func moreLabel(decided bool) string {
	if decided {
		return "Earlier decisions"
	}
	return "More requests"
}

func waiting(n int) string {
	switch n {
	case 0:
		return "None waiting"
	case 1:
		return "1 waiting"
	default:
		return fmt.Sprintf("%d waiting", n)
	}
}
