package contract

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// tab is one page of the browser; a script of it that throws fails the test.
type tab struct {
	context.Context
	t      *testing.T
	mu     sync.Mutex
	thrown []string
}

func openTab(t *testing.T, browser context.Context) *tab {
	t.Helper()
	base, stop := chromedp.NewContext(browser)
	require.NoError(t, chromedp.Do(base))
	ctx, cancel := context.WithTimeout(base, limit)
	tb := &tab{Context: ctx, t: t}
	var reader sync.WaitGroup
	exceptions := chromedp.Events(ctx, runtime.ExceptionThrown)
	reader.Go(func() {
		for e, err := range exceptions {
			if err != nil {
				return
			}
			tb.mu.Lock()
			tb.thrown = append(tb.thrown, e.ExceptionDetails.Text+" "+e.ExceptionDetails.Exception.Description)
			tb.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		cancel()
		stop()
		reader.Wait()
		require.Empty(t, tb.complaints(), "a script of the page failed")
	})
	require.NoError(t, chromedp.Do(tb, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, runtime.Enable, cdp.Empty{})
		return err
	})))
	return tb
}

func (tb *tab) complaints() []string {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	return append([]string(nil), tb.thrown...)
}

// eval gives the value of an expression, which may be a promise.
func eval[T any](tb *tab, expression string) T {
	tb.t.Helper()
	v, err := chromedp.Run(tb, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	require.NoError(tb.t, err, expression)
	return v
}

// until waits for an expression to become true.
func (tb *tab) until(expression string) {
	tb.t.Helper()
	var err error
	for range 10 {
		_, err = chromedp.Run(tb, chromedp.Poll[bool](expression, chromedp.WithPollingInterval(20*time.Millisecond), chromedp.WithPollingTimeout(15*time.Second)))
		if err == nil || (!strings.Contains(err.Error(), "navigated") && !strings.Contains(err.Error(), "Cannot find context")) {
			break // else another page has come in place of the one that was asked
		}
	}
	if err != nil {
		shown, _ := chromedp.Run(tb, chromedp.Evaluate[string](`document.body.innerHTML`))
		require.NoError(tb.t, err, "waiting for %s; complaints %v; the page shows %s", expression, tb.complaints(), shown)
	}
}

// click presses the first element of a selector.
func (tb *tab) click(selector string) {
	tb.t.Helper()
	require.True(tb.t, eval[bool](tb, fmt.Sprintf(`(() => { const found = document.querySelector(%q); found?.click(); return !!found })()`, selector)), "no %s on the page", selector)
}

// write puts a text into the field of a form and sends the form.
func (tb *tab) write(form, text string) {
	tb.t.Helper()
	require.True(tb.t, eval[bool](tb, fmt.Sprintf(`(() => { const form = document.querySelector(%q); if (form) { form.elements.text.value = %q; form.requestSubmit() } return !!form })()`, form, text)), "no %s on the page", form)
}
