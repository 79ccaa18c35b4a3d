//go:build chaos

package failpoint

import (
	"encoding/json"
	"net/http"
	"os"
	"runtime"
	"sync"
	"syscall"
)

// Marker is in a binary that can be armed, and in no other.
const Marker = "heddle-failpoints-are-live"

// points is what this process knows of its points. Only builds with the tag have
// this state: the places that reach a point know nobody who could hand it over.
var points = struct {
	sync.Mutex
	armed   Point
	detail  string
	reached map[Point]int
}{reached: map[Point]int{}}

// Reach kills the process if the point is armed for this detail, such as the
// name of the tool.
func Reach(p Point, detail string) {
	points.Lock()
	defer points.Unlock()
	points.reached[p]++
	if points.armed != p || points.detail != "" && points.detail != detail {
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // there is nobody left to tell
	select {}
}

// State is what GET / answers.
type State struct {
	Marker     string        `json:"marker"`
	Reached    map[Point]int `json:"reached"`
	Goroutines int           `json:"goroutines"`
	// Heap are the bytes of live objects after a collection.
	Heap uint64 `json:"heap"`
}

// Handler lets the harness look (GET /) and arm (POST /arm?point=…&detail=…).
func Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("collect") {
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		points.Lock()
		defer points.Unlock()
		_ = json.NewEncoder(w).Encode(State{Marker: Marker, Reached: points.reached, Goroutines: runtime.NumGoroutine(), Heap: m.HeapAlloc})
	})
	mux.HandleFunc("POST /arm", func(_ http.ResponseWriter, r *http.Request) {
		points.Lock()
		defer points.Unlock()
		points.armed, points.detail = Point(r.URL.Query().Get("point")), r.URL.Query().Get("detail")
	})
	return mux
}
