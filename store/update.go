package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

const sqlRunsBusy = `select count(*) from runs r where r.org_id = @org and r.thread_id = @thread and r.status in ('pending', 'running')`

// sqlHeadTake takes the thread's lease for one step: whoever holds an older
// token can write nothing more.
const sqlHeadTake = `update thread_heads set token = token + 1, run_id = null, worker_id = null, lease_until = null
	where org_id = @org and thread_id = @thread returning token`

// UpdateState writes a change of state as a step, on a line of its own where it
// forks; the scope must be able to write to the thread. Conflicts: the thread is
// busy, or has moved on.
func (db *DB) UpdateState(ctx context.Context, scope auth.Scope, thread agents.ThreadID, u agents.StateUpdate) (agents.Updated, error) {
	if err := scope.Require(auth.PermRun); err != nil {
		return agents.Updated{}, err
	}
	var out agents.Updated
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		t, err := lockThread(ctx, tx, scope, thread)
		if err != nil {
			return err
		}
		args := named{"org": string(scope.Org), "thread": string(thread)}
		busy, err := pgxScalar[int](ctx, tx, sqlRunsBusy, args)
		if err != nil {
			return fmt.Errorf("counting runs: %w", err)
		}
		if busy > 0 {
			return errThreadBusy()
		}
		waiting, err := waitingRun(ctx, tx, scope, thread)
		if err != nil && !errors.Is(err, agents.ErrNotInterrupted) {
			return err
		}
		status := agents.ThreadIdle
		if len(u.Step.Next) > 0 {
			status = agents.ThreadInterrupted
		}
		if waiting.ID != "" && (u.Touched || u.Leaves) {
			if status, err = leavePause(ctx, tx, scope, waiting, &u, &out, status); err != nil {
				return err
			}
		}
		if out.Checkpoint, err = db.stepAlone(ctx, tx, scope, t, u, &out); err != nil {
			return err
		}
		args["status"] = string(status)
		_, err = tx.Exec(ctx, sqlThreadStatus, args)
		return err
	})
	if err != nil {
		return agents.Updated{}, fmt.Errorf("changing a thread's state: %w", err)
	}
	return out, nil
}

func errThreadBusy() error {
	return fault.Conflict("Thread is running a task. Wait for it to finish before you change its state.").WithCode("thread_busy")
}

// leavePause ends what hung on the pause: its requests are void and asked again,
// or withdrawn with the run that waited.
func leavePause(ctx context.Context, tx pgx.Tx, scope auth.Scope, waiting agents.Run, u *agents.StateUpdate, out *agents.Updated, status agents.ThreadStatus) (agents.ThreadStatus, error) {
	closing := agents.ReviewWithdrawn
	if !u.Leaves {
		closing = agents.ReviewVoid
	}
	told, err := closeAll(ctx, tx, scope, waiting.Thread, closing, u.Told)
	if err != nil {
		return status, err
	}
	u.Step.Events = append(told, u.Step.Events...)
	if !u.Leaves {
		run, err := resumeRun(ctx, tx, scope, waiting.Thread, resumption{of: waiting.ID, anew: true})
		if err != nil {
			return status, err
		}
		out.Resumed = run.ID
		// The checkpoint keeps the pauses; the run that goes on asks again.
		return agents.ThreadBusy, nil
	}
	ended, err := leaveBehind(ctx, tx, scope, waiting, "ended by a change of the state", u.Ended)
	u.Step.Events = append(u.Step.Events, ended)
	return status, err
}

// forkLine begins the line of a change at an older place of the thread.
func forkLine(ctx context.Context, tx pgx.Tx, scope auth.Scope, thread agents.ThreadID, u agents.StateUpdate) error {
	done, err := tx.Exec(ctx, sqlFork, named{"org": string(scope.Org), "thread": string(thread), "line": string(u.Step.Line),
		"parent": string(u.Line), "parent_step": u.At})
	if err != nil {
		return fmt.Errorf("forking a thread: %w", translate(err))
	}
	if done.RowsAffected() == 0 {
		return agents.ErrCheckpointNotFound // removed since it was read
	}
	return nil
}

// stepAlone commits a step that no run makes, under a token of its own.
func (db *DB) stepAlone(ctx context.Context, tx pgx.Tx, scope auth.Scope, t agents.Thread, u agents.StateUpdate, out *agents.Updated) (string, error) {
	if u.Forks {
		if err := forkLine(ctx, tx, scope, t.ID, u); err != nil {
			return "", err
		}
	} else if t.Line != u.Line {
		return "", fault.Conflict("The thread has moved on since it was read.").WithCode("checkpoint_old")
	}
	token, err := pgxScalar[int64](ctx, tx, sqlHeadTake, named{"org": string(scope.Org), "thread": string(t.ID)})
	if err != nil {
		return "", fmt.Errorf("taking a thread's lease: %w", err)
	}
	args, err := stepArgs(scope, agents.Lease{Thread: t.ID, Token: token}, u.Step)
	if err != nil {
		return "", err
	}
	args["run"], args["holder"] = nil, nil
	if args["pack"], err = db.packed(t.ID, u.Step.Run, u.Step.Events); err != nil {
		return "", err
	}
	if rolledUp(u.Step) {
		rows, _ := tx.Query(ctx, sqlChangesSince, args)
		changed, err := pgx.CollectRows(rows, pgx.RowToStructByName[changedRow])
		if err != nil {
			return "", fmt.Errorf("reading what to roll up: %w", translate(err))
		}
		if args["rollup"], err = rollup(changed, []agents.Step{u.Step}); err != nil {
			return "", err
		}
	}
	appended, err := pgxOne[writtenRow](ctx, tx, sqlStepCommit, args)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", fault.Conflict("The thread has moved on since it was read.").WithCode("checkpoint_old")
	}
	if err != nil {
		return "", fmt.Errorf("committing a change of state: %w", translate(err))
	}
	var pending pgx.Batch
	queuePending(&pending, args, u.Step)
	if pending.Len() > 0 {
		if err := tx.SendBatch(ctx, &pending).Close(); err != nil {
			return "", fmt.Errorf("keeping results of a step: %w", translate(err))
		}
	}
	out.Appended, out.Events = appended.appended(), u.Step.Events
	return agents.CheckpointID(u.Step.Line, u.Step.Step), nil
}
