//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ticksPerSecond is the unit of /proc/PID/stat: USER_HZ, 100 on every Linux
// that Go runs on (proc(5)).
const ticksPerSecond = 100

// cpuOf gives the user and system seconds a process has used so far.
func cpuOf(pid int) float64 {
	fields := statOf(pid)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(fields[11], 64) // the kernel writes digits
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / ticksPerSecond
}

// cpuOfFamily gives the seconds that a process, its children, and those of them
// that have ended have used so far.
func cpuOfFamily(parent int) float64 {
	sum := cpuOf(parent)
	if fields := statOf(parent); len(fields) > 14 {
		for _, field := range fields[13:15] {
			ticks, _ := strconv.ParseFloat(field, 64) // the kernel writes digits
			sum += ticks / ticksPerSecond
		}
	}
	for _, pid := range childrenOf(parent) {
		sum += cpuOf(pid)
	}
	return sum
}

// childrenOf lists the processes that a process has started and that still run.
func childrenOf(parent int) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if fields := statOf(pid); len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			out = append(out, pid)
		}
	}
	return out
}

// statOf gives the fields of /proc/PID/stat from the third on; none of a process
// that is gone.
func statOf(pid int) []string {
	text := readFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
}

// residentOf gives a process's resident memory in KiB.
func residentOf(pid int) int64 {
	_, rest, _ := strings.Cut(readFile("/proc/"+strconv.Itoa(pid)+"/status"), "VmRSS:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kib, _ := strconv.ParseInt(fields[0], 10, 64) // the kernel writes digits
	return kib
}

// residentOfFamily gives the resident memory of a process and all that descend
// from it, in KiB.
func residentOfFamily(parent int) int64 {
	sum := residentOf(parent)
	for _, pid := range childrenOf(parent) {
		sum += residentOfFamily(pid)
	}
	return sum
}

// profile records a CPU profile of the product for a slice, if that was asked
// for. The function it returns ends the recording.
func profile(p *product, s settings, name string) func() error {
	if s.profile == "" || p == nil {
		return func() error { return nil }
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- record(ctx, p.Debug, filepath.Join(s.profile, name+".pprof")) }()
	time.Sleep(20 * time.Millisecond) // the recording begins
	return func() error {
		defer cancel()
		return <-done
	}
}

// record takes one second of profile.
func record(ctx context.Context, address, path string) (err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/debug/pprof/profile?seconds=1", nil)
	if err != nil {
		return fmt.Errorf("asking for a profile: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("asking for a profile: %w", err)
	}
	defer response.Body.Close()
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("keeping a profile: %w", err)
	}
	_, err = io.Copy(file, response.Body)
	return errors.Join(err, file.Close())
}
