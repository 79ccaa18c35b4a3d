// Package prebuilt holds the graphs Heddle ships: chat, the default agent, and
// the small ones of development. app registers them; it imports graph, model
// and tool.
package prebuilt
