package network

import (
	"net/http"
	"testing"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/ca"
)

// TestRotationCutShort: a key that nobody may trust any more is replaced once and revoked, also when the apply
// is cut short at every step, and the state that it is tried from again knows the new key already.
func TestRotationCutShort(t *testing.T) {
	h, server := orgHouse(t)
	spec := h.identitySpec("alice")
	first, err := h.createIdentity(spec)
	h.must(err)
	rotate := func(distrusted string) (IdentityState, error) {
		h.restart()
		again := spec
		again.Renewal = Renewal{KeyVersion: 2, Revoke: []string{distrusted}}
		return h.fabric.UpdateIdentity(h.ctx(), again, spec.Attributes)
	}
	read := func() IdentityState {
		h.restart()
		state, err := h.fabric.ReadIdentity(h.ctx(), spec.Handle, "", IdentityState{})
		h.must(err)
		return state
	}
	server.refuse = http.StatusInternalServerError
	for _, server.refused = range []string{"enroll", "revoke"} { // by then its registration tells of the second key
		if _, err := rotate(first.Certificate); err == nil {
			t.Fatalf("without %s it succeeds", server.refused)
		}
		if got := read().KeyVersion; got != 0 {
			t.Errorf("without %s it reads as key %d", server.refused, got)
		}
	}
	server.refuse = 0
	brought := read().Certificate
	if brought == first.Certificate || server.revoked(enrollmentCA, first.Certificate) != "" {
		t.Fatal("the attempts did not come as far as they should")
	}
	done, err := rotate(brought) // as a state says that was refreshed
	h.must(err)
	if !sameKeys(t, map[string][]byte{"x": []byte(brought)}, map[string][]byte{"x": []byte(done.Certificate)}, "x") {
		t.Error("the new key was replaced as well")
	}
	if got := server.revoked(enrollmentCA, first.Certificate); got != ca.ReasonKeyCompromise {
		t.Errorf("the old key is revoked for %q", got)
	}
	if got := server.revoked(enrollmentCA, brought) + server.revoked(enrollmentCA, done.Certificate); got != "" {
		t.Errorf("the new key is revoked for %q", got)
	}
	if got := read().KeyVersion; got != 2 {
		t.Errorf("at the end it reads as key %d", got)
	}
	if under, err := h.fabric.rotationOf(h.ctx(), spec.Handle); under != nil || err != nil {
		t.Errorf("the rotation goes on: %+v, %v", under, err)
	}
}

// TestBeginRotation: what is begun again distrusts what it did at first; what is begun beside it adds to that.
func TestBeginRotation(t *testing.T) {
	h, _ := employ(t)
	begin := func(r Renewal) Renewal {
		t.Helper()
		h.restart()
		h.must(h.fabric.beginRotation(h.ctx(), h.member(), &r))
		return r
	}
	for _, c := range []struct {
		name string
		r    Renewal
		want string
	}{
		{"nothing", Renewal{KeyVersion: 2}, ""},
		{"one that is taken back", Renewal{KeyVersion: 2, Revoke: []string{"x"}}, "x"},
		{"taken back", Renewal{}, ""},
		{"the first", Renewal{KeyVersion: 2, Revoke: []string{"a"}}, "a"},
		{"again", Renewal{KeyVersion: 2, Revoke: []string{"b"}}, "a"},
		{"for another reason", Renewal{KeyVersion: 2}, "a"},
		{"a further one", Renewal{KeyVersion: 3, KeyVersionBefore: 2, Revoke: []string{"b"}}, "ab"},
	} {
		got := ""
		for _, text := range begin(c.r).Revoke {
			got += text
		}
		if got != c.want {
			t.Errorf("%s: distrusted are %q, want %q", c.name, got, c.want)
		}
	}
	labels := h.member().labels()
	labels[labelInputs] = inputs(NodeOptions{Renewal: Renewal{KeyVersion: 3}})
	image, err := h.fabric.engine.ResolveImage(h.ctx(), h.caSpec("ca.org1").Image)
	h.must(err)
	h.must(h.fabric.engine.CreateNode(h.ctx(), engine.NodeSpec{Name: h.member().Object(), Image: image.ID, User: nodeUser, Labels: labels}))
	version, err := h.fabric.KeyVersion(h.ctx(), h.member())
	h.must(err)
	if version != 1 {
		t.Errorf("while it goes on, the peer has key %d", version)
	}
	h.must(h.fabric.endRotation(h.ctx(), h.member(), Renewal{Revoke: []string{"no certificate"}}))
	if version, err = h.fabric.KeyVersion(h.ctx(), h.member()); version != 3 || err != nil {
		t.Errorf("at its end the peer has key %d, %v", version, err)
	}
}
