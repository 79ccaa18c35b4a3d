package handlers

import (
	"context"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/run"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/handlers/present"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/realtime"
	"github.com/heddle/heddle/views/chat"
	"github.com/heddle/heddle/views/markdown"
)

// ThreadStore reads and changes threads.
type ThreadStore interface {
	Thread(ctx context.Context, scope auth.Scope, thread agents.ThreadID) (agents.Thread, error)
	Threads(ctx context.Context, scope auth.Scope, q agents.ThreadQuery) ([]agents.Thread, error)
	View(ctx context.Context, scope auth.Scope, thread agents.ThreadID) (agents.View, error)
	// Opened notes in the audit log that somebody reads a thread by the right to
	// read any.
	Opened(ctx context.Context, scope auth.Scope, thread agents.Thread, now time.Time) error
	DeleteThread(ctx context.Context, scope auth.Scope, thread agents.ThreadID) error
	Names(ctx context.Context, scope auth.Scope) (map[auth.UserID]string, error)
}

// Assistants reads assistants.
type Assistants interface {
	Assistants(ctx context.Context, scope auth.Scope) ([]agents.Assistant, error)
	AssistantNames(ctx context.Context, scope auth.Scope) (map[agents.AssistantID]string, error)
	Assistant(ctx context.Context, scope auth.Scope, idOrGraph string) (agents.Assistant, error)
	AssistantVersion(ctx context.Context, scope auth.Scope, assistant agents.AssistantID, version int) (agents.Assistant, error)
}

// Runs accepts and cancels runs, and tells watchers of a thread what changes
// between them.
type Runs interface {
	Submit(ctx context.Context, scope auth.Scope, r run.Request) (agents.Run, error)
	Cancel(ctx context.Context, scope auth.Scope, thread agents.ThreadID, id agents.RunID, reason string) (agents.Run, error)
	CancelCurrent(ctx context.Context, scope auth.Scope, thread agents.ThreadID, reason string) error
	EditQueued(ctx context.Context, scope auth.Scope, thread agents.ThreadID, run agents.RunID, text string) error
	SendNow(ctx context.Context, scope auth.Scope, thread agents.ThreadID, run agents.RunID) error
	Rename(ctx context.Context, scope auth.Scope, thread agents.ThreadID, title string) error
	Move(ctx context.Context, scope auth.Scope, thread agents.ThreadID, version int) error
	Resume(ctx context.Context, scope auth.Scope, thread agents.ThreadID, c run.Command) (agents.Run, error)
	Text(scope auth.Scope, text string) agents.RunInput
}

// Threads serves the pages of threads and the forms on them.
type Threads struct {
	frame      *Frame
	store      ThreadStore
	assistants Assistants
	runs       Runs
	markdown   *markdown.Renderer
}

// NewThreads makes the handlers.
func NewThreads(frame *Frame, store ThreadStore, assistants Assistants, runs Runs, md *markdown.Renderer) *Threads {
	return &Threads{frame: frame, store: store, assistants: assistants, runs: runs, markdown: md}
}

// Home is GET /: the list of threads and a composer for a new one.
func (t *Threads) Home(c *fiber.Ctx) error { return t.home(c, fiber.StatusOK, "", nil) }

// home shows the start page; a refused message comes back with its reason.
func (t *Threads) home(c *fiber.Ctx, status int, text string, refused error) error {
	scope := middleware.Scope(c)
	p := t.frame.page(c, "")
	list, err := t.list(c, "", p.CSRF)
	if err != nil {
		return err
	}
	all, err := t.assistants.Assistants(c.UserContext(), scope)
	if err != nil {
		return err
	}
	h := chat.Home{List: list, Greeting: greeting(time.Now().UTC().Hour(), p.User.Name), Composer: chat.Composer{
		Action: "/threads", DraftKey: chat.DraftKey(""), Text: text, MaxLength: agents.MaxMessageRunes, CSRF: p.CSRF}}
	if refused != nil {
		h.Composer.Error = fault.Public(refused)
	}
	for i, a := range all {
		h.Assistants = append(h.Assistants, chat.Assistant{ID: string(a.ID), Name: a.Name, Description: a.Description, Selected: i == 0})
	}
	if len(all) > 0 {
		for _, s := range all[0].Config.Starters {
			h.Starters = append(h.Starters, chat.Starter{Text: s})
		}
	} else {
		h.Composer.Disabled = "This organisation has no assistant yet."
	}
	return html(c, status, chat.HomePage(p, h))
}

func greeting(hour int, name string) string {
	word := "Good evening"
	switch {
	case hour < 12:
		word = "Good morning"
	case hour < 18:
		word = "Good afternoon"
	}
	return word + ", " + name
}

// List is GET /threads: the list alone, for the page's script.
func (t *Threads) List(c *fiber.Ctx) error {
	list, err := t.list(c, agents.ThreadID(c.Query("active")), "")
	if err != nil {
		return err
	}
	return html(c, fiber.StatusOK, chat.ThreadList(list))
}

// listPage is how many threads one page of the list holds.
const listPage = 40

func (t *Threads) list(c *fiber.Ctx, active agents.ThreadID, csrf string) (chat.List, error) {
	scope := middleware.Scope(c)
	q := agents.ThreadQuery{Text: strings.TrimSpace(utils.CopyString(c.Query("q"))), Limit: listPage + 1}
	if at, before, ok := strings.Cut(utils.CopyString(c.Query("before")), "_"); ok {
		if micros, err := strconv.ParseInt(at, 10, 64); err == nil {
			q.BeforeTime, q.BeforeID = time.UnixMicro(micros), agents.ThreadID(before)
		}
	}
	threads, err := t.store.Threads(c.UserContext(), scope, q)
	if err != nil {
		return chat.List{}, err
	}
	names, err := t.assistants.AssistantNames(c.UserContext(), scope)
	if err != nil {
		return chat.List{}, err
	}
	list := chat.List{Query: q.Text, CSRF: csrf}
	if len(threads) > listPage {
		threads = threads[:listPage]
		last := threads[listPage-1]
		next := url.Values{"before": {strconv.FormatInt(last.UpdatedAt.UnixMicro(), 10) + "_" + string(last.ID)}}
		if q.Text != "" {
			next.Set("q", q.Text)
		}
		list.Next = "/?" + next.Encode()
	}
	list.Groups = present.Groups(threads, names, active, time.Now().UTC())
	return list, nil
}

// Show is GET /threads/:thread.
func (t *Threads) Show(c *fiber.Ctx) error { return t.show(c, fiber.StatusOK, "", nil) }

// show shows a thread; a refused message comes back with its reason, and so
// does a refused answer, which mend puts into its place.
func (t *Threads) show(c *fiber.Ctx, status int, text string, refused error, mend ...func(*chat.Thread)) error {
	scope := middleware.Scope(c)
	view, p, err := t.load(c.UserContext(), scope, threadParam(c))
	if err != nil {
		return err
	}
	if err := t.store.Opened(c.UserContext(), scope, view.Thread, time.Now().UTC()); err != nil {
		return err
	}
	folded, err := present.Fold(view)
	if err != nil {
		return err
	}
	page := t.frame.page(c, folded.Title)
	list, err := t.list(c, view.Thread.ID, page.CSRF)
	if err != nil {
		return err
	}
	th := chat.Thread{
		ID: string(view.Thread.ID), Title: present.Title(folded.Title), Assistant: p.Assistant,
		Shared: view.Thread.Visibility == agents.VisibilityOrganisation, CanWrite: view.Thread.WritableBy(scope),
		Seq: view.Head.Seq, Epoch: view.Head.Epoch, Messages: p.Messages(folded), Status: p.StatusOf(folded),
		CanReview: scope.Can(auth.PermReview), Questions: present.Questions(folded), Queue: p.Queue(folded), List: list, CSRF: page.CSRF,
		Composer: chat.Composer{
			Action: "/threads/" + string(view.Thread.ID) + "/messages", DraftKey: chat.DraftKey(string(view.Thread.ID)),
			Busy: folded.Busy(), Text: text, MaxLength: agents.MaxMessageRunes, CSRF: page.CSRF,
		},
	}
	if view.Thread.Owner != scope.User {
		th.Owner = p.Names[view.Thread.Owner]
	}
	if refused != nil {
		th.Composer.Error = fault.Public(refused)
	}
	if th.CanWrite && view.Thread.Assistant != "" {
		active, err := t.assistants.Assistant(c.UserContext(), scope, string(view.Thread.Assistant))
		if err != nil {
			return err
		}
		if active.Version > view.Thread.AssistantVersion {
			th.Newer = active.Version
		}
	}
	th.Messages, th.Earlier = present.Window(th.Messages, th.ID, utils.CopyString(c.Query("before")))
	if folded.Busy() {
		page.Refresh = 3
	}
	for _, m := range mend {
		m(&th)
	}
	return html(c, status, chat.ThreadPage(page, th))
}

// load reads a thread and who presents it.
func (t *Threads) load(ctx context.Context, scope auth.Scope, thread agents.ThreadID) (agents.View, present.Thread, error) {
	view, err := t.store.View(ctx, scope, thread)
	if err != nil {
		return agents.View{}, present.Thread{}, err
	}
	p := present.Thread{ID: string(view.Thread.ID), Assistant: "Assistant", Markdown: t.markdown, Now: func() time.Time { return time.Now().UTC() }}
	if p.Names, err = t.store.Names(ctx, scope); err != nil {
		return agents.View{}, present.Thread{}, err
	}
	if view.Thread.Assistant != "" {
		a, err := t.assistants.AssistantVersion(ctx, scope, view.Thread.Assistant, view.Thread.AssistantVersion)
		if err != nil {
			return agents.View{}, present.Thread{}, err
		}
		p.Assistant = a.Name
	}
	return view, p, nil
}

// Projector makes the projector of a thread's live page. It reads with the
// scope of whoever joined first; what it renders is the same for all readers.
func (t *Threads) Projector(scope auth.Scope, thread agents.ThreadID) realtime.Projector {
	return present.NewProjector(func(ctx context.Context) (agents.View, present.Thread, error) {
		return t.load(ctx, scope, thread)
	})
}

// Create is POST /threads: a new thread with its first message.
func (t *Threads) Create(c *fiber.Ctx) error {
	text := message(c)
	thread := agents.ThreadID(id.New())
	err := t.submit(c, thread, &agents.NewThread{ID: thread}, utils.CopyString(c.FormValue("assistant_id")), text)
	if err != nil && comesBack(c, err) {
		return t.home(c, middleware.Status(fault.KindOf(err)), text, err)
	}
	if err != nil {
		return err
	}
	return done(c, "/threads/"+string(thread))
}

// Send is POST /threads/:thread/messages: a message, queued if the thread is
// busy.
func (t *Threads) Send(c *fiber.Ctx) error {
	scope, text := middleware.Scope(c), message(c)
	thread, err := t.store.Thread(c.UserContext(), scope, threadParam(c))
	if err != nil {
		return err
	}
	assistant := string(thread.Assistant)
	if given := utils.CopyString(c.FormValue("assistant_id")); given != "" {
		assistant = given
	}
	err = t.submit(c, thread.ID, nil, assistant, text)
	if err != nil && comesBack(c, err) {
		return t.show(c, middleware.Status(fault.KindOf(err)), text, err)
	}
	if err != nil {
		return err
	}
	return done(c, "/threads/"+string(thread.ID))
}

// comesBack reports whether a refused form is shown again with what was typed,
// rather than an error page: the reader has no script, and can mend it.
func comesBack(c *fiber.Ctx, err error) bool {
	kind := fault.KindOf(err)
	middleware.RetryAfter(c, err)
	return !wantsJSON(c) && (kind == fault.KindInvalid || kind == fault.KindLimited)
}

// message reads the text of a form; a starter's button stands for an empty one.
func message(c *fiber.Ctx) string {
	if text := utils.CopyString(c.FormValue("message")); strings.TrimSpace(text) != "" {
		return strings.ReplaceAll(text, "\r\n", "\n")
	}
	return utils.CopyString(c.FormValue("starter"))
}

func (t *Threads) submit(c *fiber.Ctx, thread agents.ThreadID, create *agents.NewThread, assistant, text string) error {
	if err := agents.ValidateText("message", text); err != nil {
		return err
	}
	scope := middleware.Scope(c)
	if assistant == "" {
		all, err := t.assistants.Assistants(c.UserContext(), scope)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			return fault.Invalid("assistant_id", "is required: this organisation has no assistant yet")
		}
		assistant = string(all[0].ID)
	}
	strategy, err := agents.ParseStrategy("multitask_strategy", utils.CopyString(c.FormValue("multitask_strategy")))
	if err != nil {
		return err
	}
	_, err = t.runs.Submit(c.UserContext(), scope, run.Request{
		Thread: thread, Create: create, Assistant: assistant, Strategy: strategy, Input: t.runs.Text(scope, text)})
	return err
}

// done ends a form: scripts learn the address, browsers go there.
func done(c *fiber.Ctx, location string) error {
	if wantsJSON(c) {
		return c.JSON(fiber.Map{"location": location})
	}
	return c.Redirect(location, fiber.StatusSeeOther)
}

// Stop is POST /threads/:thread/cancel: the current run ends, its text stays.
func (t *Threads) Stop(c *fiber.Ctx) error {
	scope, thread := middleware.Scope(c), threadParam(c)
	// A thread that isn't there has no run to stop, which alone would be fine.
	if _, err := t.store.Thread(c.UserContext(), scope, thread); err != nil {
		return err
	}
	if err := t.runs.CancelCurrent(c.UserContext(), scope, thread, "stopped by a person"); err != nil {
		return err
	}
	return done(c, "/threads/"+string(thread))
}

// Rename is POST /threads/:thread/title.
func (t *Threads) Rename(c *fiber.Ctx) error {
	thread := threadParam(c)
	title := strings.Join(strings.Fields(utils.CopyString(c.FormValue("title"))), " ")
	if n := len([]rune(title)); n == 0 || n > agents.MaxTitleRunes {
		return fault.Invalid("title", "must have 1 to 200 characters")
	}
	if err := t.runs.Rename(c.UserContext(), middleware.Scope(c), thread, title); err != nil {
		return err
	}
	return done(c, "/threads/"+string(thread))
}

// Move is POST /threads/:thread/assistant: the thread goes on with another
// version of its assistant.
func (t *Threads) Move(c *fiber.Ctx) error {
	thread := threadParam(c)
	version, err := strconv.Atoi(c.FormValue("version"))
	if err != nil || version < 1 || version > math.MaxInt32 {
		// A thread that isn't there has no versions to choose from.
		if _, err := t.store.Thread(c.UserContext(), middleware.Scope(c), thread); err != nil {
			return err
		}
		return fault.Invalid("version", "must be a version of this thread's assistant")
	}
	if err := t.runs.Move(c.UserContext(), middleware.Scope(c), thread, version); err != nil {
		return err
	}
	return done(c, "/threads/"+string(thread))
}

// Delete is POST /threads/:thread/delete.
func (t *Threads) Delete(c *fiber.Ctx) error {
	if err := t.store.DeleteThread(c.UserContext(), middleware.Scope(c), threadParam(c)); err != nil {
		return err
	}
	return done(c, "/")
}

func threadParam(c *fiber.Ctx) agents.ThreadID {
	return agents.ThreadID(utils.CopyString(c.Params("thread")))
}
