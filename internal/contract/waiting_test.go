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
	return map[string]awaiting{
		"store.test.mjs": {all: "the store's endpoints"},
		"streams.test.mjs": {tests: map[string]string{
			"debug: no checkpoint events on a stateless run":                "stateless runs",
			"the SDK streams a stateless run":                               "stateless runs",
			"a run on a checkpoint streams the fork":                        "runs on older checkpoints",
			"joining a run that is over ends at once; an absent one is 404": "the list of runs",
			"heartbeats: a comment every 5 s while nothing is said":         "after_seconds",
		}},
		"interfaces.test.mjs": {tests: map[string]string{
			"agent-chat-ui edits a message and regenerates an answer by the parent checkpoint": "runs on older checkpoints",
			"agent-inbox answers without watching: POST runs":                                  "joining",
		}},
		"hitl.test.mjs": {tests: map[string]string{
			"command.update writes into the state before it goes on": "command.update",
			"resume by stream and in the background":                 "joining",
		}},
		"runs.test.mjs": {tests: map[string]string{
			"DELETE /threads/{t}/runs/{r}: gone afterwards, the thread stays":                                      "deleting runs",
			"GET /threads/{t}/runs: newest first, limit, offset, status, select":                                   "the list of runs",
			"POST /runs/batch: a Run for each body":                                                                "batches",
			"POST /runs/cancel: runs of a thread by id":                                                            "cancelling many",
			"POST /runs/cancel by status: all of the key's person":                                                 "cancelling many",
			"POST /runs/wait: stateless, the thread is gone afterwards":                                            "stateless runs",
			"POST /runs: stateless in the background, on a thread that no list shows; on_completion keep shows it": "stateless runs",
			"a run that stops at an interrupt is success; only the thread is interrupted":                          "the list of runs",
			"after_seconds: the run stays pending until then":                                                      "after_seconds",
			"cancel with rollback: the run and its steps are gone":                                                 "rollback by cancelling",
			"checkpoint_id and checkpoint: a run forks from an older state":                                        "runs on older checkpoints",
			"input null with an older checkpoint regenerates the answer":                                           "runs on older checkpoints",
			"join: waits for the run's values, at once if it is over":                                              "joining",
			"runs/wait: a failed run is an exception, or 200 with __error__":                                       "the list of runs",
			"webhook: the Run with its values is posted when it is over":                                           "webhooks",
		}},
	}
}

// waitingExamples are the tasks of docs/api/examples.md that don't work yet, by
// title, or language and title where only one shows it.
func waitingExamples() map[string]string {
	return map[string]string{
		"Start in the background, join later":                        "joining",
		"bash: Change a state, and go another way from an older one": "runs on older checkpoints",
		"js: Change a state, and go another way from an older one":   "runs on older checkpoints",
		"Keep something in the store":                                "the store's endpoints",
	}
}
