package store

import (
	"container/list"
	"sync"
)

// lru keeps the values used last, as many as weigh no more than its limit together.
// Safe for concurrent use.
type lru[K comparable, V any] struct {
	mu     sync.Mutex
	limit  int
	weigh  func(V) int // nil: each is 1
	weight int
	order  *list.List // of pair[K, V], the newest in front
	items  map[K]*list.Element
}

type pair[K comparable, V any] struct {
	key   K
	value V
}

func newLRU[K comparable, V any](limit int, weigh func(V) int) *lru[K, V] {
	return &lru[K, V]{limit: limit, weigh: weigh, order: list.New(), items: map[K]*list.Element{}}
}

func (l *lru[K, V]) get(key K) (V, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.items[key]
	if !ok {
		var zero V
		return zero, false
	}
	l.order.MoveToFront(e)
	return e.Value.(pair[K, V]).value, true
}

func (l *lru[K, V]) put(key K, value V) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.items[key]; ok {
		l.remove(e)
	}
	l.items[key] = l.order.PushFront(pair[K, V]{key, value})
	l.weight += l.of(value)
	for l.weight > l.limit {
		l.remove(l.order.Back())
	}
}

func (l *lru[K, V]) drop(key K) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.items[key]; ok {
		l.remove(e)
	}
}

// remove takes one out. The lock is held.
func (l *lru[K, V]) remove(e *list.Element) {
	p := l.order.Remove(e).(pair[K, V])
	delete(l.items, p.key)
	l.weight -= l.of(p.value)
}

func (l *lru[K, V]) of(value V) int {
	if l.weigh == nil {
		return 1
	}
	return l.weigh(value)
}
