package provider

import (
	"context"
	"log/slog"
	"regexp"

	"github.com/hashicorp/terraform-plugin-log/tflog"
)

// The log subsystems: what is asked of the engine, and of Fabric's nodes.
const (
	logEngine = "engine"
	logNode   = "node"
)

// secretFields are the log fields that are masked whatever they hold; none of them is ever written.
var secretFields = []string{"password", "secret", "token", "private_key", "transient"}

// privateKeyText is a private key, wherever it stands.
var privateKeyText = regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)`)

// subsystem writes to a log subsystem of Terraform's, in which secrets are masked.
type subsystem struct {
	name   string
	fields []slog.Attr
}

// Enabled leaves the choice to Terraform's own levels (TF_LOG, TF_LOG_PROVIDER).
func (subsystem) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (s subsystem) Handle(ctx context.Context, record slog.Record) error {
	fields := map[string]any{}
	add := func(a slog.Attr) bool {
		fields[a.Key] = a.Value.Resolve().Any()
		return true
	}
	for _, a := range s.fields {
		add(a)
	}
	record.Attrs(add)
	ctx = tflog.NewSubsystem(ctx, s.name)
	ctx = tflog.SubsystemMaskFieldValuesWithFieldKeys(ctx, s.name, secretFields...)
	ctx = tflog.SubsystemMaskAllFieldValuesRegexes(ctx, s.name, privateKeyText)
	ctx = tflog.SubsystemMaskMessageRegexes(ctx, s.name, privateKeyText)
	switch {
	case record.Level >= slog.LevelError:
		tflog.SubsystemError(ctx, s.name, record.Message, fields)
	case record.Level >= slog.LevelWarn:
		tflog.SubsystemWarn(ctx, s.name, record.Message, fields)
	case record.Level >= slog.LevelInfo:
		tflog.SubsystemInfo(ctx, s.name, record.Message, fields)
	default:
		tflog.SubsystemDebug(ctx, s.name, record.Message, fields)
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (s subsystem) WithAttrs(attrs []slog.Attr) slog.Handler {
	s.fields = append(s.fields[:len(s.fields):len(s.fields)], attrs...)
	return s
}

// WithGroup implements slog.Handler; fields have no groups here.
func (s subsystem) WithGroup(string) slog.Handler { return s }
