package enginetest_test

import (
	"context"
	"errors"
	"testing"

	"go.uber.org/goleak"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/engine/enginetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFakeConforms(t *testing.T) {
	enginetest.Conformance(t, func(*testing.T) engine.Engine { return enginetest.NewFake() }, "busybox:1")
}

func volume(name string) engine.VolumeSpec {
	return engine.VolumeSpec{Name: name, Labels: map[string]string{engine.LabelOwner: "o"}}
}

func TestFakeFailsAtTheMutationItWasToldTo(t *testing.T) {
	ctx, boom := t.Context(), errors.New("boom")
	for _, test := range []struct {
		when   enginetest.When
		exists bool
	}{{enginetest.Before, false}, {enginetest.After, true}} {
		f := enginetest.NewFake()
		if err := f.CreateVolume(ctx, volume("earlier")); err != nil {
			t.Fatal(err)
		}
		f.FailAt(2, test.when, boom)
		if err := f.CreateVolume(ctx, volume("a")); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Volume(ctx, "a"); err != nil { // reads do not count
			t.Fatal(err)
		}
		if err := f.CreateVolume(ctx, volume("b")); !errors.Is(err, boom) {
			t.Errorf("the second mutation gave %v", err)
		}
		if err := f.CreateVolume(ctx, volume("c")); err != nil {
			t.Errorf("the third mutation gave %v", err)
		}
		if _, err := f.Volume(ctx, "b"); (err == nil) != test.exists {
			t.Errorf("after a failure at moment %d reading gave %v", test.when, err)
		}
		if f.Mutations() != 4 {
			t.Errorf("%d mutations were counted", f.Mutations())
		}
	}
}

func TestFakeRecordsCalls(t *testing.T) {
	ctx, f := t.Context(), enginetest.NewFake()
	refused := errors.New("refused")
	f.Intercept(func(c enginetest.Call) error {
		if c.Method == "Volume" && c.Name == "x" {
			return refused
		}
		return nil
	})
	_ = f.CreateVolume(ctx, volume("x"))
	if _, err := f.Volume(ctx, "x"); !errors.Is(err, refused) {
		t.Errorf("an intercepted call gave %v", err)
	}
	want := []enginetest.Call{{Method: "CreateVolume", Name: "x", Mutating: true}, {Method: "Volume", Name: "x", Err: refused}}
	if got := f.Calls(); len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("the calls are %+v", got)
	}
}

func TestFakeUnreachable(t *testing.T) {
	ctx, f := t.Context(), enginetest.NewFake()
	f.SetUnreachable(true)
	if _, err := f.Info(ctx); !errors.Is(err, engine.ErrUnreachable) {
		t.Errorf("a dead engine gave %v", err)
	}
	f.SetUnreachable(false)
	if _, err := f.Info(ctx); err != nil {
		t.Error(err)
	}
}

func TestFakeDrift(t *testing.T) {
	ctx, f := t.Context(), enginetest.NewFake()
	labels := map[string]string{engine.LabelOwner: "o"}
	spec := engine.NodeSpec{Name: "n", Image: "i", User: "1:1", Labels: labels, Mounts: []engine.Mount{{Volume: "v", Target: "/data"}}}
	for _, err := range []error{f.CreateVolume(ctx, volume("v")), f.CreateNode(ctx, spec), f.StartNode(ctx, "n")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	f.WriteVolume("v", engine.File{Name: "home/f", Content: []byte("x")})
	if files, err := f.GetFiles(ctx, "n", "/data/home/f"); err != nil || len(files) != 1 || string(files[0].Content) != "x" {
		t.Errorf("a written file reads as %v, %v", files, err)
	}
	if len(f.Files("v")) != 1 || f.Files("w") != nil {
		t.Errorf("the volume holds %v", f.Files("v"))
	}
	f.SetOOMKilled("n")
	if n, err := f.Node(ctx, "n"); err != nil || n.Status != engine.Stopped || !n.OOMKilled || n.ExitCode != 137 {
		t.Errorf("the node is %+v, %v", n, err)
	}
	f.SetStatus("n", engine.Running, 0)
	if n, err := f.Node(ctx, "n"); err != nil || n.Status != engine.Running || n.OOMKilled {
		t.Errorf("the node is %+v, %v", n, err)
	}
	if _, err := f.Dial(ctx, "n", 1); err == nil {
		t.Error("a port without a handler was dialled")
	}
	f.VanishVolume("v")
	f.VanishNode("n")
	if _, err := f.Volume(ctx, "v"); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("a vanished volume gave %v", err)
	}
	if _, err := f.AwaitExit(ctx, "n"); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("a vanished node gave %v", err)
	}
	f.AddNode(engine.Node{Name: "n", Status: engine.Stopped, ExitCode: 7})
	if code, err := f.AwaitExit(ctx, "n"); err != nil || code != 7 {
		t.Errorf("AwaitExit gave %d, %v", code, err)
	}
	if err := f.CreateNode(ctx, engine.NodeSpec{Name: "n", Image: "i", User: "1:1", Labels: labels}); !errors.Is(err, engine.ErrForeign) {
		t.Errorf("a foreign node gave %v", err)
	}
	f.AddVolume(engine.Volume{Name: "v"})
	f.AddNetwork(engine.Network{Name: "net", ID: "1"})
	if err := f.RemoveVolume(ctx, "v", "o"); !errors.Is(err, engine.ErrForeign) {
		t.Errorf("a foreign volume gave %v", err)
	}
	if err := f.RemoveNetwork(ctx, "net", "o"); !errors.Is(err, engine.ErrForeign) {
		t.Errorf("a foreign network gave %v", err)
	}
}

func TestFakeRunOnceCanBeGivenAnOutcome(t *testing.T) {
	ctx, f := t.Context(), enginetest.NewFake()
	f.SetProgram([]string{"tool", "-x"}, enginetest.Program{Output: []string{"out"}, ExitCode: 2})
	spec := engine.NodeSpec{
		Name: "n", Image: "i", User: "1:1", Entrypoint: []string{"tool"}, Command: []string{"-x"},
		Labels: map[string]string{engine.LabelOwner: "o"},
	}
	result, err := f.RunOnce(ctx, spec)
	if err != nil || result.ExitCode != 2 || len(result.Output) != 1 || len(f.Runs()) != 1 {
		t.Errorf("RunOnce gave %+v, %v", result, err)
	}
	spec.Entrypoint = []string{"unknown"}
	stopped, cancel := context.WithCancel(ctx)
	f.Intercept(func(c enginetest.Call) error { cancel(); return nil })
	if _, err := f.RunOnce(stopped, spec); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled run gave %v", err)
	}
	f.Intercept(nil)
	if nodes, err := f.Nodes(ctx, nil); err != nil || len(nodes) != 0 {
		t.Errorf("runs left %v, %v", nodes, err)
	}
}

func TestFakePortsOfOtherPrograms(t *testing.T) {
	ctx, f := t.Context(), enginetest.NewFake()
	f.TakePort("0.0.0.0", 7000)
	if free, err := f.PortFree(ctx, "127.0.0.1", 7000); err != nil || free {
		t.Errorf("a taken port is free: %t, %v", free, err)
	}
	spec := engine.NodeSpec{
		Name: "n", Image: "i", User: "1:1", Labels: map[string]string{engine.LabelOwner: "o"},
		Ports: []engine.Port{{Container: 1, Host: 7000, Address: "127.0.0.1"}},
	}
	if err := f.CreateNode(ctx, spec); err != nil {
		t.Fatal(err)
	}
	var taken *engine.PortError
	if err := f.StartNode(ctx, "n"); !errors.As(err, &taken) || taken.Holder != "" {
		t.Errorf("a taken port gave %v", err)
	}
}
