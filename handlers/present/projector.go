package present

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/a-h/templ"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/transcript"
	"github.com/heddle/heddle/realtime"
	"github.com/heddle/heddle/views/chat"
)

// Loader reads a thread and who presents it.
type Loader func(ctx context.Context) (agents.View, Thread, error)

// Projector keeps a thread's transcript and renders what changed, once for all
// who watch. It implements realtime.Projector.
type Projector struct {
	load    Loader
	p       Thread
	t       *transcript.Transcript
	flushed int64
	// base is the number of the snapshot below which single changes are unknown.
	base int64
	// shown remembers, per message that is still being written, what watchers
	// have: closed blocks are final and are not sent again.
	shown map[agents.MessageID]shown
}

type shown struct {
	closed int
	steps  string
}

// NewProjector makes a projector; Load is called first.
func NewProjector(load Loader) *Projector {
	return &Projector{load: load, shown: map[agents.MessageID]shown{}}
}

// errReload says that the history itself changed: the page is to be read anew.
var errReload = errors.New("the thread's history was replaced")

// Fold makes a transcript of a view and applies its tail.
func Fold(v agents.View) (*transcript.Transcript, error) {
	t := transcript.New(transcript.BaseOf(v))
	for _, row := range v.Tail {
		e, err := event.Parse(row.Payload(v.Head.Epoch))
		if err != nil {
			return nil, err
		}
		if _, err := t.Apply(e); err != nil {
			return nil, err
		}
	}
	t.At = v.Head
	return t, nil
}

// Load implements realtime.Projector.
func (j *Projector) Load(ctx context.Context) (realtime.Position, error) {
	view, p, err := j.load(ctx)
	if err != nil {
		return realtime.Position{}, fmt.Errorf("loading a thread's view: %w", err)
	}
	if j.t, err = Fold(view); err != nil {
		return realtime.Position{}, fmt.Errorf("folding a thread's log: %w", err)
	}
	j.p, j.flushed, j.base = p, view.Head.Seq, view.Base.Seq
	return realtime.Position{Seq: view.Head.Seq, Epoch: view.Head.Epoch}, nil
}

// Apply implements realtime.Projector.
func (j *Projector) Apply(m realtime.Message) error {
	e, err := event.Parse(m.Payload)
	if err != nil {
		return err
	}
	reload, err := j.t.Apply(e)
	if err != nil {
		return err
	}
	if reload {
		return errReload
	}
	if j.t.Assistant != "" {
		j.p.Assistant = j.t.Assistant
	}
	return nil
}

// Changed implements realtime.Projector: whole messages, for one who was away.
// What changed before this projector's snapshot is not known message by
// message, least of all what was taken back: whoever saw less than the snapshot
// gets the regions whole.
func (j *Projector) Changed(after int64) ([]byte, error) {
	if after < j.base {
		return j.everything()
	}
	return j.patch(after, j.whole)
}

// Flush implements realtime.Projector: of a message that is being written only
// the blocks that are new or open.
func (j *Projector) Flush() ([]byte, error) {
	payload, err := j.patch(j.flushed, j.growth)
	j.flushed = j.t.At.Seq
	return payload, err
}

// everything renders all regions as a page does.
func (j *Projector) everything() ([]byte, error) {
	messages, _ := Window(j.p.Messages(j.t), j.p.ID, "")
	html, err := render(chat.Messages(messages))
	if err != nil {
		return nil, err
	}
	around, err := j.around(-1)
	if err != nil {
		return nil, err
	}
	patch := realtime.Patch{Seq: j.t.At.Seq, Regions: []realtime.Region{{ID: chat.RegionMessages, HTML: html}}}
	patch.Regions = append(patch.Regions, around...)
	return patch.Encode()
}

// patch gathers every region that changed after a number; nil if none did.
func (j *Projector) patch(after int64, message func(e *transcript.Entry, continued bool) ([]realtime.Region, error)) ([]byte, error) {
	patch := realtime.Patch{Seq: j.t.At.Seq}
	for id, seq := range j.t.Removed {
		if seq > after {
			patch.Regions = append(patch.Regions, realtime.Region{ID: chat.MessageID(string(id)), Remove: true})
			delete(j.shown, id)
		}
	}
	entries := Entries(j.t)
	for i, e := range entries {
		if e.Changed <= after {
			continue
		}
		regions, err := message(e, continues(entries, i))
		if err != nil {
			return nil, err
		}
		patch.Regions = append(patch.Regions, regions...)
	}
	around, err := j.around(after)
	if err != nil {
		return nil, err
	}
	patch.Regions = append(patch.Regions, around...)
	if len(patch.Regions) == 0 {
		return nil, nil
	}
	return patch.Encode()
}

// around renders what stands around the messages.
func (j *Projector) around(after int64) ([]realtime.Region, error) {
	var regions []realtime.Region
	add := func(id string, c templ.Component) error {
		html, err := render(c)
		regions = append(regions, realtime.Region{ID: id, HTML: html})
		return err
	}
	var errs []error
	if j.t.QuestionsChanged > after {
		errs = append(errs, add(chat.RegionQuestions, chat.Questions(j.p.ID, Questions(j.t))))
	}
	if j.t.ActivityChanged > after || j.t.QuestionsChanged > after {
		errs = append(errs, add(chat.RegionStatus, chat.StatusLine(j.p.StatusOf(j.t))))
		errs = append(errs, add(chat.RegionActions, chat.ComposerActions(j.p.ID, j.t.Busy(), false)))
	}
	if j.t.ActivityChanged > after || j.t.QueueChanged > after {
		errs = append(errs, add(chat.RegionQueue, chat.Queue(j.p.ID, j.p.Queue(j.t))))
	}
	if j.t.TitleChanged > after {
		errs = append(errs, add(chat.RegionTitle, chat.TitleOf(Title(j.t.Title))))
	}
	return regions, errors.Join(errs...)
}

func (j *Projector) whole(e *transcript.Entry, continued bool) ([]realtime.Region, error) {
	html, err := render(chat.MessageOf(j.p.Message(e, continued)))
	return []realtime.Region{{ID: chat.MessageID(string(e.ID)), HTML: html, Into: chat.RegionMessages}}, err
}

// growth renders what a message has gained since the last flush.
func (j *Projector) growth(e *transcript.Entry, continued bool) ([]realtime.Region, error) {
	before, known := j.shown[e.ID]
	if e.State != transcript.EntryStreaming {
		delete(j.shown, e.ID)
		return j.whole(e, continued)
	}
	m := j.p.Message(e, continued)
	now := shown{closed: max(len(m.Blocks)-1, 0), steps: fmt.Sprint(m.Steps)}
	j.shown[e.ID] = now
	if !known {
		return j.whole(e, continued)
	}
	var regions []realtime.Region
	if now.steps != before.steps {
		html, err := render(chat.Steps(m.ID, m.Steps))
		if err != nil {
			return nil, err
		}
		regions = append(regions, realtime.Region{ID: chat.StepsID(m.ID), HTML: html})
	}
	for _, b := range m.Blocks[min(before.closed, len(m.Blocks)):] {
		html, err := render(chat.BlockOf(m.ID, b))
		if err != nil {
			return nil, err
		}
		regions = append(regions, realtime.Region{ID: chat.BlockID(m.ID, b.Index), HTML: html, Into: chat.BodyID(m.ID)})
	}
	return regions, nil
}

func render(c templ.Component) (string, error) {
	var b bytes.Buffer
	if err := c.Render(context.Background(), &b); err != nil {
		return "", fmt.Errorf("rendering a region: %w", err)
	}
	return b.String(), nil
}
