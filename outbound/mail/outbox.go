package mail

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// OutboxSize is how many messages an outbox keeps; older ones go.
const OutboxSize = 1000

const (
	ending     = ".eml"
	unfinished = ".new-*"
)

// Outbox takes messages as files, one for each that was accepted, whatever its
// key: two files with one Message-ID mean that something sent twice. Processes
// may share a directory.
type Outbox struct {
	envelope
	dir string

	mu sync.Mutex // one writer of this process at a time
}

// NewOutbox makes an outbox of dir, which the first message makes. An empty
// from is a sender of development.
func NewOutbox(dir, from string, clk clock.Clock) (*Outbox, error) {
	e, err := newEnvelope(cmp.Or(from, developmentFrom), clk)
	if err != nil {
		return nil, err
	}
	return &Outbox{envelope: e, dir: dir}, nil
}

// Send implements [Sender]: the message is on disk, whole, when it returns nil.
func (o *Outbox) Send(ctx context.Context, m Message) error {
	msg, err := o.compose(m)
	if err != nil {
		return err
	}
	data, err := render(msg)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return fault.Unavailable("The message was not sent: the time for it was over.", err)
	}
	if err := o.write(id.New()+ending, data); err != nil {
		return fmt.Errorf("putting a message into the outbox: %w", err)
	}
	o.prune()
	return nil
}

// write makes a file appear whole or not at all, also after a power cut.
func (o *Outbox) write(name string, data []byte) (err error) {
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(o.dir, unfinished)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreAbsent(os.Remove(file.Name())))
		}
	}()
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err = os.Rename(file.Name(), filepath.Join(o.dir, name)); err != nil {
		return err
	}
	return syncDir(o.dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// prune removes the oldest messages beyond the bound, and what a process that
// died left half written. The message at hand is kept, so nothing that fails
// here is told to its sender: the next one tries again.
func (o *Outbox) prune() {
	if ids, err := o.ids(); err == nil && len(ids) > OutboxSize {
		for _, old := range ids[OutboxSize:] {
			_ = os.Remove(o.path(old))
		}
	}
	halves, _ := filepath.Glob(filepath.Join(o.dir, unfinished))
	for _, half := range halves {
		if info, err := os.Stat(half); err == nil && o.clock.Now().Sub(info.ModTime()) > time.Hour {
			_ = os.Remove(half)
		}
	}
}

// Stored is a message of the outbox.
type Stored struct {
	ID, MessageID, From, To, Subject, Body string
	At                                     time.Time
}

// List gives at most limit messages, newest first. A file that is no message is
// passed over.
func (o *Outbox) List(limit int) ([]Stored, error) {
	ids, err := o.ids()
	if err != nil {
		return nil, err
	}
	out := []Stored{}
	for _, name := range ids {
		if len(out) == limit {
			break
		}
		if s, err := o.read(name); err == nil {
			out = append(out, s)
		}
	}
	return out, nil
}

func (o *Outbox) read(message string) (Stored, error) {
	data, err := os.ReadFile(o.path(message))
	if err != nil {
		return Stored{}, fmt.Errorf("reading a message of the outbox: %w", err)
	}
	s, err := parse(data)
	if err != nil {
		return Stored{}, fmt.Errorf("reading message %s of the outbox: %w", message, err)
	}
	s.ID = message
	return s, nil
}

// ids lists the messages, newest first: ids sort by the time they were made.
func (o *Outbox) ids() ([]string, error) {
	entries, err := os.ReadDir(o.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing the outbox: %w", err)
	}
	var out []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ending); ok && id.Valid(name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	slices.Reverse(out)
	return out, nil
}

func (o *Outbox) path(message string) string { return filepath.Join(o.dir, message+ending) }

// parse reads what compose and render wrote.
func parse(data []byte) (Stored, error) {
	m, err := mail.ReadMessage(bufio.NewReader(bytes.NewReader(data)))
	if err != nil {
		return Stored{}, err
	}
	body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if err != nil {
		return Stored{}, err
	}
	s := Stored{Body: strings.ReplaceAll(string(body), "\r\n", "\n"), MessageID: strings.Trim(m.Header.Get("Message-ID"), "<>")}
	words := mime.WordDecoder{}
	if s.Subject, err = words.DecodeHeader(m.Header.Get("Subject")); err != nil {
		return Stored{}, err
	}
	if s.From, err = words.DecodeHeader(m.Header.Get("From")); err != nil {
		return Stored{}, err
	}
	to, err := m.Header.AddressList("To")
	if err != nil || len(to) != 1 {
		return Stored{}, fmt.Errorf("reading the recipient: %w", err)
	}
	s.To = to[0].Address
	if s.At, err = m.Header.Date(); err != nil {
		return Stored{}, err
	}
	s.At = s.At.UTC()
	return s, nil
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
