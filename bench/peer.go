//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// The peer of the rows of the API is the JavaScript development server of the npm
// package @langchain/langgraph-api, with the versions that peer/package.json pins.
// It is installed outside the tree, in the user's cache, and started as its own
// command does, without analytics, browser and watching of files. It keeps its
// state in memory.

//go:embed peer
var peerFiles embed.FS

// installLimit bounds an npm install.
const installLimit = 5 * time.Minute

// peerServer is the running development server.
type peerServer struct {
	*child
	addr string
	dir  string
	// drained is closed when nobody reads what it says any more.
	drained chan struct{}
}

// installPeer puts the peer into the cache, once for each content of its files.
func installPeer(ctx context.Context) (string, error) {
	files, err := fs.Sub(peerFiles, "peer")
	if err != nil {
		return "", fmt.Errorf("reading the peer's files: %w", err)
	}
	hash := sha256.New()
	names := []string{"graphs.mjs", "langgraph.json", "package.json"}
	for _, name := range names {
		raw, err := fs.ReadFile(files, name)
		if err != nil {
			return "", fmt.Errorf("reading the peer's files: %w", err)
		}
		_, _ = hash.Write(raw) // a hash never fails
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache: %w", err)
	}
	dir := filepath.Join(cache, "heddle", "bench-peer-"+hex.EncodeToString(hash.Sum(nil))[:12])
	if _, err := os.Stat(filepath.Join(dir, "installed")); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("making the peer's directory: %w", err)
	}
	for _, name := range names {
		raw, _ := fs.ReadFile(files, name) // it was read before
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o644); err != nil {
			return "", fmt.Errorf("writing the peer's files: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, installLimit)
	defer cancel()
	install := exec.CommandContext(ctx, "npm", "install", "--no-audit", "--no-fund", "--legacy-peer-deps", "--silent")
	install.Dir = dir
	if said, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("installing the peer: %w: %.500s", err, said)
	}
	return dir, os.WriteFile(filepath.Join(dir, "installed"), nil, 0o644)
}

// startPeer starts the development server with so many runs at once.
func startPeer(ctx context.Context, workers int) (*peerServer, error) {
	dir, err := installPeer(ctx)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("finding a free port: %w", err)
	}
	addr := listener.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	if err := listener.Close(); err != nil {
		return nil, fmt.Errorf("freeing the port: %w", err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("reading the port: %w", err)
	}
	var described struct {
		Graphs map[string]string `json:"graphs"`
	}
	raw, err := os.ReadFile(filepath.Join(dir, "langgraph.json"))
	if err == nil {
		err = json.Unmarshal(raw, &described)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the peer's graphs: %w", err)
	}
	// A directory of its own for each start: it keeps what it knows in a file.
	own, err := os.MkdirTemp("", "heddle-peer-")
	if err != nil {
		return nil, fmt.Errorf("making the peer's directory: %w", err)
	}
	for _, name := range []string{"node_modules", "graphs.mjs", "langgraph.json", "package.json"} {
		if err := os.Symlink(filepath.Join(dir, name), filepath.Join(own, name)); err != nil {
			return nil, fmt.Errorf("making the peer's directory: %w", err)
		}
	}
	start, err := json.Marshal(map[string]any{"port": number, "nWorkers": workers, "host": "127.0.0.1", "cwd": own, "graphs": described.Graphs})
	if err != nil {
		return nil, fmt.Errorf("describing the peer: %w", err)
	}
	code := filepath.Join(dir, "node_modules", "@langchain", "langgraph-api", "dist")
	p := &peerServer{addr: addr, dir: own, drained: make(chan struct{})}
	p.child, err = spawn("/usr/bin/env", "LANGGRAPH_CLI_NO_ANALYTICS=1", "LANGSMITH_TRACING=false", "LANGCHAIN_TRACING_V2=false",
		"NODE_ENV=development", "LANGGRAPH_API_URL=http://"+addr, "--chdir="+own,
		"node", filepath.Join(dir, "node_modules", "tsx", "dist", "cli.mjs"), "--import", filepath.Join(code, "preload.mjs"),
		filepath.Join(code, "cli", "entrypoint.mjs"), strconv.Itoa(os.Getpid()), string(start))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(own))
	}
	go p.drain()
	client := &http.Client{Timeout: time.Second}
	deadline := time.Now().Add(startLimit)
	for time.Now().Before(deadline) && p.alive() && ctx.Err() == nil {
		response, err := client.Get("http://" + addr + "/ok")
		if err == nil {
			_ = response.Body.Close() // it answers: that is all
			return p, nil
		}
		// It says nowhere that it is ready: all there is to do is to ask again.
		time.Sleep(50 * time.Millisecond)
	}
	_ = p.stop() // what it said is the news
	return nil, fmt.Errorf("starting the peer: it does not answer: %s", p.said())
}

// drain throws away what the peer logs.
func (p *peerServer) drain() {
	defer close(p.drained)
	buffer := make([]byte, 32<<10)
	for {
		if _, err := p.out.Read(buffer); err != nil {
			return
		}
	}
}

// stop ends the peer and removes its directory.
func (p *peerServer) stop() error {
	err := p.child.stop()
	<-p.drained
	return errors.Join(err, os.RemoveAll(p.dir))
}

// resident is the memory of the peer's processes: the program that starts it, and
// the one that serves.
func (p *peerServer) resident() int64 { return residentOfFamily(p.pid()) }
