// Package contract calls the product with the official JavaScript SDK, in both
// lines that clients use: the promise is that they work unchanged. It has tests
// only.
//
// The calls stand in js/*.test.mjs, one test per row of the contract, and run on
// Node's own test runner; each becomes a subtest here, so that a failure names
// its row. They are written from the documented contract, not from our code.
// The SDK is installed from the lock files of sdk-*, which name no registry.
//
// A test that needs what isn't built yet is listed in waiting_test.go. What is
// listed there and passes fails the suite, so that nobody forgets to take it off.
package contract
