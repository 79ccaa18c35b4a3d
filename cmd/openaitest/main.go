// Command openaitest serves package openaitest, a server of OpenAI's protocol
// that answers by rule, to try Heddle with a provider that costs nothing:
//
//	go run ./cmd/openaitest
//	OPENAI_BASE_URL=http://127.0.0.1:8090/v1 heddle serve
//
// An assistant whose model is openai:any then asks it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/heddle/heddle/agents/model/openai/openaitest"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8090", "address to listen on")
	key := flag.String("key", "", "the only key to let in; empty lets in everybody")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, *addr, *key); err != nil {
		fmt.Fprintln(os.Stderr, "openaitest:", err)
		os.Exit(1)
	}
}

// serve answers until ctx ends.
func serve(ctx context.Context, addr, key string) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listening on %s: %w", addr, err)
	}
	server := &http.Server{Handler: openaitest.New(openaitest.Options{Key: key}), ReadHeaderTimeout: 10 * time.Second}
	ctx, end := context.WithCancel(ctx)
	var closing sync.WaitGroup
	defer closing.Wait()
	defer end()
	closing.Go(func() {
		<-ctx.Done()
		_ = server.Close() // streams that still run have nothing to lose
	})
	fmt.Printf("base URL: http://%s/v1\n", listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving: %w", err)
	}
	return nil
}
