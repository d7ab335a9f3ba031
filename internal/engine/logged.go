package engine

import (
	"context"
	"io"
	"log/slog"
	"time"
)

// Logged gives an engine that logs each call which changes something: what it was about, how long it
// took and how it ended. What files hold, environments and credentials are never logged.
func Logged(e Engine, log *slog.Logger) Engine { return &logged{e, log} }

type logged struct {
	Engine
	log *slog.Logger
}

// ended logs a call, and gives its error back.
func (l *logged) ended(ctx context.Context, call, object string, begun time.Time, err error, more ...any) error {
	fields := append([]any{"object", object, "took", time.Since(begun).Round(time.Millisecond).String()}, more...)
	if err != nil {
		fields = append(fields, "error", err.Error())
	}
	l.log.DebugContext(ctx, call, fields...)
	return err
}

func (l *logged) CreateNetwork(ctx context.Context, spec NetworkSpec) error {
	return l.ended(ctx, "CreateNetwork", spec.Name, time.Now(), l.Engine.CreateNetwork(ctx, spec))
}

func (l *logged) RemoveNetwork(ctx context.Context, name, owner string) error {
	return l.ended(ctx, "RemoveNetwork", name, time.Now(), l.Engine.RemoveNetwork(ctx, name, owner))
}

func (l *logged) CreateVolume(ctx context.Context, spec VolumeSpec) error {
	return l.ended(ctx, "CreateVolume", spec.Name, time.Now(), l.Engine.CreateVolume(ctx, spec))
}

func (l *logged) RemoveVolume(ctx context.Context, name, owner string) error {
	return l.ended(ctx, "RemoveVolume", name, time.Now(), l.Engine.RemoveVolume(ctx, name, owner))
}

func (l *logged) ResolveImage(ctx context.Context, reference string) (Image, error) {
	begun := time.Now()
	image, err := l.Engine.ResolveImage(ctx, reference)
	return image, l.ended(ctx, "ResolveImage", reference, begun, err, "image", image.ID)
}

func (l *logged) CreateNode(ctx context.Context, spec NodeSpec) error {
	return l.ended(ctx, "CreateNode", spec.Name, time.Now(), l.Engine.CreateNode(ctx, spec), "image", spec.Image)
}

func (l *logged) StartNode(ctx context.Context, name string) error {
	return l.ended(ctx, "StartNode", name, time.Now(), l.Engine.StartNode(ctx, name))
}

func (l *logged) StopNode(ctx context.Context, name string, grace time.Duration) error {
	return l.ended(ctx, "StopNode", name, time.Now(), l.Engine.StopNode(ctx, name, grace))
}

func (l *logged) RemoveNode(ctx context.Context, name, owner string) error {
	return l.ended(ctx, "RemoveNode", name, time.Now(), l.Engine.RemoveNode(ctx, name, owner))
}

func (l *logged) RenameNode(ctx context.Context, name, newName, owner string) error {
	return l.ended(ctx, "RenameNode", name, time.Now(), l.Engine.RenameNode(ctx, name, newName, owner), "name", newName)
}

func (l *logged) RunOnce(ctx context.Context, spec NodeSpec) (RunResult, error) {
	begun := time.Now()
	result, err := l.Engine.RunOnce(ctx, spec)
	return result, l.ended(ctx, "RunOnce", spec.Name, begun, err, "exit_code", result.ExitCode)
}

func (l *logged) PutFiles(ctx context.Context, node, folder string, files []File) error {
	names := make([]string, 0, len(files))
	for _, f := range files {
		names = append(names, f.Name)
	}
	return l.ended(ctx, "PutFiles", node, time.Now(), l.Engine.PutFiles(ctx, node, folder, files), "folder", folder, "files", names)
}

func (l *logged) Remake(ctx context.Context, name string, change Change, grace time.Duration) error {
	return l.ended(ctx, "Remake", name, time.Now(), l.Engine.Remake(ctx, name, change, grace), "image", change.Image)
}

func (l *logged) WriteArchive(ctx context.Context, node, folder string, archive io.Reader) error {
	return l.ended(ctx, "WriteArchive", node, time.Now(), l.Engine.WriteArchive(ctx, node, folder, archive), "folder", folder)
}

func (l *logged) CreateLease(ctx context.Context, spec LeaseSpec) (Lease, error) {
	begun := time.Now()
	lease, err := l.Engine.CreateLease(ctx, spec)
	return lease, l.ended(ctx, "CreateLease", spec.Name, begun, err)
}

func (l *logged) RemoveLease(ctx context.Context, lease Lease) error {
	return l.ended(ctx, "RemoveLease", lease.Name, time.Now(), l.Engine.RemoveLease(ctx, lease))
}
