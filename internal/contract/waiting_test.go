package contract

// awaiting is what a file of calls waits for: all of it, or some of its tests by
// name.
type awaiting struct {
	all   string
	tests map[string]string
}

// waiting is what the contract has and this server does not have yet.
var waiting = map[string]awaiting{}

// awaited copies the names of files that wait.
func awaited() map[string]bool {
	out := make(map[string]bool, len(waiting))
	for file := range waiting {
		out[file] = true
	}
	return out
}
