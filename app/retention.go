package app

import (
	"context"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/retention"
	"github.com/heddle/heddle/internal/clock"
)

// sweeping is what the sweeper works with.
func (a *App) sweeping() retention.Options {
	cfg := a.o.Config.Retention
	return retention.Options{
		Store: a.db, Every: cfg.Sweep, Clock: clock.System{}, Logger: a.logger("retention"),
		Policy: agents.Retention{Strategy: agents.RetentionStrategy(cfg.Strategy), Checkpoints: time.Duration(cfg.Checkpoints), Keep: cfg.Keep,
			Events: time.Duration(cfg.Events)},
		Changed: func(ctx context.Context, key agents.ThreadKey) {
			a.wire.recheck(ctx, key.Org, key.Thread)
		},
	}
}

// OrgSwept is what went of one organisation.
type OrgSwept struct {
	Org string
	agents.Swept
}

// Swept is what a sweep by hand did, or would do: the organisations of which
// something went, by their names.
type Swept struct {
	Orgs []OrgSwept
	retention.Report
}

// Sweep removes what is older than its lifetime at a moment, whether or not a
// sweep is due; a dry run only counts. retention.ErrUnderWay says that a node
// sweeps already.
func (a *App) Sweep(ctx context.Context, now time.Time, dry bool) (Swept, error) {
	report, err := a.sweeper.Sweep(ctx, now, dry)
	out := Swept{Report: report}
	if err != nil {
		return out, err
	}
	orgs, err := a.db.AuditOrgs(ctx, "")
	if err != nil {
		return out, err
	}
	for _, o := range orgs {
		if went, ok := report.Orgs[o.ID]; ok {
			out.Orgs = append(out.Orgs, OrgSwept{Org: o.Name(), Swept: went})
		}
	}
	return out, nil
}
