// Package arch holds the test that keeps the house in order: who may import
// whom, no init functions, no package named after nothing. rules_test.go is
// the table to read, and to change on purpose when a room is added. Nothing
// imports this package; it has no code outside its tests.
package arch
