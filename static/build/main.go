// Command build makes static/dist: it installs the libraries of package.json
// when they are stale, bundles styles and scripts with hashed names, draws the
// icon sprite and compresses the result. When nothing changed it does nothing.
//
// Run it from the module's root: go run ./static/build [-force] [-dir static].
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"
)

func main() {
	dir := flag.String("dir", "static", "the folder that holds src, dist and package.json")
	force := flag.Bool("force", false, "build even when nothing changed")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *dir, *force); err != nil {
		fmt.Fprintln(os.Stderr, "building the browser's files:", err)
		stop()
		os.Exit(1)
	}
}

// run builds dir/dist unless its manifest says that it is made of what is there.
func run(ctx context.Context, dir string, force bool) error {
	started := time.Now()
	print, err := fingerprint(dir)
	if err != nil {
		return err
	}
	if !force && fresh(filepath.Join(dir, "dist"), print) {
		return nil
	}
	if err := install(ctx, dir); err != nil {
		return err
	}
	sprite, err := drawSprite(dir)
	if err != nil {
		return err
	}
	files, err := bundle(dir)
	if err != nil {
		return err
	}
	if err := write(dir, print, files, sprite); err != nil {
		return err
	}
	fmt.Printf("built %d files for the browser in %s\n", len(files)+1, time.Since(started).Round(time.Millisecond))
	return nil
}
