// Package testbrowser starts the real browser that tests open pages in. Only tests
// import it.
package testbrowser

import (
	"context"
	"os"
	"os/exec"
	"testing"

	"github.com/chromedp/chromedp"
)

// Start runs one Chromium for a test and its subtests, until the test ends; tabs are
// contexts made from the one that it gives. The test fails where none is installed.
func Start(tb testing.TB) context.Context {
	tb.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		tb.Fatal("Chromium is needed for this test: make setup-test installs it")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path))
	if os.Geteuid() == 0 {
		opts = append(opts, chromedp.NoSandbox)
	}
	alloc, stopAlloc := chromedp.NewExecAllocator(context.Background(), opts...)
	browser, _ := chromedp.NewContext(alloc)
	tb.Cleanup(func() {
		if err := chromedp.Cancel(browser); err != nil {
			tb.Errorf("stopping Chromium: %v", err)
		}
		stopAlloc()
	})
	if err := chromedp.Do(browser); err != nil {
		tb.Fatalf("starting Chromium: %v", err)
	}
	return browser
}
