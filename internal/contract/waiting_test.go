package contract

// awaiting is what a file of calls waits for: all of it, or some of its tests by
// name.
type awaiting struct {
	all   string
	tests map[string]string
}

// waiting is what the contract has and this server does not have yet. A row that
// passes fails the suite until it is taken off here.
func waiting() map[string]awaiting {
	return map[string]awaiting{}
}

// waitingExamples are the tasks of docs/api/examples.md that don't work yet, by
// title, or language and title where only one shows it.
func waitingExamples() map[string]string {
	return map[string]string{}
}
