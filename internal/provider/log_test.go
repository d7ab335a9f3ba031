package provider

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-log/tflogtest"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/engine/enginetest"
)

// TestLogSubsystem: what is logged is there with its fields, and no secret is, whatever holds it.
func TestLogSubsystem(t *testing.T) {
	var out bytes.Buffer
	ctx := tflogtest.RootLogger(t.Context(), &out)
	key := "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEG\n-----END PRIVATE KEY-----\n"
	log := slog.New(subsystem{name: logEngine}).With("host", "here")
	log.DebugContext(ctx, "a call", "object", "peer0", "password", "open sesame", "error", errors.New("unable to read "+key).Error())
	log.ErrorContext(ctx, "it says "+key, "files", []string{"key.pem"})
	lines, err := tflogtest.MultilineJSONDecode(&out)
	if err != nil || len(lines) != 2 {
		t.Fatalf("the log is %v, %v", lines, err)
	}
	if l := lines[0]; l["@message"] != "a call" || l["object"] != "peer0" || l["host"] != "here" || l["@level"] != "debug" || l["@module"] != "provider.engine" {
		t.Errorf("the line is %v", l)
	}
	if l := lines[1]; l["@level"] != "error" {
		t.Errorf("the line is %v", l)
	}
	if text := fmt.Sprint(lines); strings.Contains(text, "MIGHAgEAMBM") || strings.Contains(text, "open sesame") {
		t.Errorf("a secret is in %s", text)
	}
}

// TestLoggedEngine: a call that changes something is logged with its object and its end, and what a file
// holds is not.
func TestLoggedEngine(t *testing.T) {
	var out bytes.Buffer
	ctx := tflogtest.RootLogger(t.Context(), &out)
	e := engine.Logged(enginetest.NewFake(), slog.New(subsystem{name: logEngine}))
	labels := map[string]string{engine.LabelOwner: "me"}
	if err := e.CreateVolume(ctx, engine.VolumeSpec{Name: "keys", Labels: labels}); err != nil {
		t.Fatal(err)
	}
	if err := e.PutFiles(ctx, "nobody", "/data", []engine.File{{Name: "secret", Content: []byte("open sesame")}}); !errors.Is(err, engine.ErrNotFound) {
		t.Fatal(err)
	}
	lines, err := tflogtest.MultilineJSONDecode(&out)
	if err != nil || len(lines) != 2 {
		t.Fatalf("the log is %v, %v", lines, err)
	}
	if l := lines[0]; l["@message"] != "CreateVolume" || l["object"] != "keys" || l["error"] != nil || l["took"] == nil {
		t.Errorf("the line is %v", l)
	}
	if l := lines[1]; l["@message"] != "PutFiles" || l["object"] != "nobody" || l["error"] == nil || strings.Contains(fmt.Sprint(l), "sesame") {
		t.Errorf("the line is %v", l)
	}
}
