// Package examples holds small whole programs over the graph engine, one in each
// folder, to be read and run: go run ./examples/loop. Each shows a few things, and
// its test shows how such a graph is tested. docs/graphs.md goes through them.
package examples
