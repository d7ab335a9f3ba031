package docker

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// daemon speaks as much of the Engine API on a unix socket as a test gives it.
type daemon struct {
	server  *httptest.Server
	socket  string
	version string

	mu     sync.Mutex
	routes map[string]http.HandlerFunc
	calls  []string
}

var versionPrefix = regexp.MustCompile(`^/v1\.\d+`)

func newDaemon(t *testing.T) *daemon {
	t.Helper()
	d := &daemon{version: "1.41", routes: map[string]http.HandlerFunc{}, socket: filepath.Join(t.TempDir(), "d.sock")}
	d.on("HEAD /_ping", func(http.ResponseWriter, *http.Request) {})
	listener, err := net.Listen("unix", d.socket)
	if err != nil {
		t.Fatal(err)
	}
	d.server = &httptest.Server{Listener: listener, Config: &http.Server{Handler: d}}
	d.server.Start()
	t.Cleanup(func() {
		d.server.CloseClientConnections()
		d.server.Close()
	})
	return d
}

// on answers requests such as "GET /networks"; "GET" answers those that have no answer of their own.
func (d *daemon) on(route string, handle http.HandlerFunc) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.routes[route] = handle
}

func (d *daemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Api-Version", d.version)
	route := r.Method + " " + versionPrefix.ReplaceAllString(r.URL.Path, "")
	d.mu.Lock()
	if !strings.Contains(route, "_ping") {
		d.calls = append(d.calls, r.Method+" "+r.URL.Path)
	}
	handle, ok := d.routes[route]
	if !ok {
		handle, ok = d.routes[r.Method]
	}
	d.mu.Unlock()
	if !ok {
		answers(http.StatusNotFound, "no such thing")(w, r)
		return
	}
	handle(w, r)
}

func (d *daemon) called() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.calls)
}

func (d *daemon) engine(t *testing.T, options Options) *Engine {
	t.Helper()
	options.Host = "unix://" + d.socket
	return newEngine(t, options)
}

func newEngine(t *testing.T, options Options) *Engine {
	t.Helper()
	e, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

func gives(body any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(body)
	}
}

func answers(status int, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]string{"message": message})
	}
}

// hangs answers nothing for as long as the client waits.
func hangs(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// drops takes the request and closes the connection.
func drops(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}

type fields = map[string]any

func containerNamed(name string, status string, labels map[string]string) fields {
	return fields{
		"Id": strings.Repeat("c", 64), "Name": "/" + name, "Image": "sha256:x",
		"State":      fields{"Status": status, "Running": status == "running"},
		"Config":     fields{"Labels": labels},
		"HostConfig": fields{}, "NetworkSettings": fields{},
	}
}

func TestNewRefusesAddressesThatAreUnsafeOrUnknown(t *testing.T) {
	secured := &TLS{}
	for _, test := range []struct {
		host string
		tls  *TLS
		want string
	}{
		{"", nil, "empty"},
		{"/var/run/docker.sock", nil, "not of the form"},
		{"unix://", nil, "not of the form"},
		{"unix:///d.sock", secured, "TLS does not apply"},
		{"tcp://192.0.2.1:2375", nil, "plain tcp beyond loopback"},
		{"tcp://engine.example.com:2375", nil, "plain tcp beyond loopback"},
		{"tcp://0.0.0.0:2375", nil, "plain tcp beyond loopback"},
		{"tcp://localhost.example.com:2375", nil, "plain tcp beyond loopback"},
		{"tcp://127.0.0.1", nil, "a host and a port"},
		{"tcp://:2375", nil, "a host and a port"},
		{"ssh://user@host", nil, "ssh is not supported"},
		{"http://127.0.0.1:2375", nil, "not supported"},
		{"unix:///" + strings.Repeat("x", 200), nil, "too long"},
		{"tcp://192.0.2.1:2376", &TLS{CA: []byte("no PEM")}, "no certificate in PEM"},
		{"tcp://192.0.2.1:2376", &TLS{Key: []byte("secret key")}, "do not go together"},
	} {
		_, err := New(Options{Host: test.host, TLS: test.tls})
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q gave %v, want %q", test.host, err, test.want)
		}
	}
	for host, tls := range map[string]*TLS{
		"unix:///var/run/docker.sock": nil, "tcp://127.0.0.1:2375": nil, "tcp://[::1]:2375": nil,
		"tcp://localhost:2375": nil, "tcp://192.0.2.1:2376": secured, "tcp://engine.example.com:2376": secured,
	} {
		newEngine(t, Options{Host: host, TLS: tls})
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	options := Options{
		Registries: map[string]Credentials{"ghcr.io": {Username: "u", Password: "topsecret"}},
		TLS:        &TLS{Key: []byte("topsecret")},
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, value := range []any{options, options.Registries, options.Registries["ghcr.io"], options.TLS} {
			if text := fmt.Sprintf(verb, value); strings.Contains(text, "topsecret") || strings.Contains(text, "116, 111, 112") {
				t.Errorf("%s prints a secret: %s", verb, text)
			}
		}
	}
}

func TestAnEngineThatIsNotThere(t *testing.T) {
	e := newEngine(t, Options{Host: "unix:///nonexistent/docker.sock"})
	start := time.Now()
	_, err := e.Info(t.Context())
	if !errors.Is(err, engine.ErrUnreachable) || !strings.Contains(err.Error(), "unix:///nonexistent/docker.sock") {
		t.Errorf("it gave %v", err)
	}
	spec := engine.NodeSpec{Name: "n", Image: "i", User: "1:1", Labels: map[string]string{engine.LabelOwner: "o"}}
	if _, err := e.RunOnce(t.Context(), spec); !errors.Is(err, engine.ErrUnreachable) {
		t.Errorf("it gave %v", err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("that took %s", took)
	}
}

// Every call finds out within the time limit, also when many come at once.
func TestAnEngineThatHangs(t *testing.T) {
	d := newDaemon(t)
	d.on("HEAD /_ping", hangs)
	d.on("GET /_ping", hangs)
	e := d.engine(t, Options{Timeout: 300 * time.Millisecond})
	start := time.Now()
	done := make(chan error, 8)
	for range cap(done) {
		go func() {
			_, err := e.Node(t.Context(), "n")
			done <- err
		}()
	}
	for range cap(done) {
		if err := <-done; !errors.Is(err, engine.ErrUnreachable) || errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer within 300ms") {
			t.Errorf("it gave %v", err)
		}
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("that took %s", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := e.Node(ctx, "n"); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, engine.ErrUnreachable) {
		t.Errorf("the caller's deadline gave %v", err)
	}
}

func TestAnEngineThatFallsSilent(t *testing.T) {
	d := newDaemon(t)
	d.on("GET /containers/n/json", gives(containerNamed("n", "running", nil)))
	e := d.engine(t, Options{Timeout: 200 * time.Millisecond})
	if _, err := e.Node(t.Context(), "n"); err != nil {
		t.Fatal(err)
	}
	for _, route := range []string{"HEAD /_ping", "GET /_ping", "GET /containers/n/json", "POST /containers/n/wait"} {
		d.on(route, hangs)
	}
	start := time.Now()
	if _, err := e.Node(t.Context(), "n"); !errors.Is(err, engine.ErrUnreachable) || !strings.Contains(err.Error(), "no answer within 200ms") {
		t.Errorf("reading gave %v", err)
	}
	if _, err := e.AwaitExit(t.Context(), "n"); !errors.Is(err, engine.ErrUnreachable) {
		t.Errorf("waiting gave %v", err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("that took %s", took)
	}
}

// An engine can be stuck over one thing, and answer for others.
func TestAnEngineThatIsStuck(t *testing.T) {
	d := newDaemon(t)
	for _, route := range []string{"GET /containers/n/json", "GET /containers/json", "GET /networks", "GET /volumes", "GET /volumes/v", "GET /info", "GET /containers/n/archive"} {
		d.on(route, hangs)
	}
	e := d.engine(t, Options{})
	e.answerTime = 100 * time.Millisecond
	for what, ask := range map[string]func(context.Context) error{
		"node":     func(ctx context.Context) error { _, err := e.Node(ctx, "n"); return err },
		"nodes":    func(ctx context.Context) error { _, err := e.Nodes(ctx, nil); return err },
		"networks": func(ctx context.Context) error { _, err := e.Networks(ctx, nil); return err },
		"volume":   func(ctx context.Context) error { _, err := e.Volume(ctx, "v"); return err },
		"volumes":  func(ctx context.Context) error { _, err := e.Volumes(ctx, nil); return err },
		"info":     func(ctx context.Context) error { _, err := e.Info(ctx); return err },
		"files":    func(ctx context.Context) error { _, err := e.GetFiles(ctx, "n", "/keys"); return err },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			if err := ask(t.Context()); !errors.Is(err, engine.ErrUnreachable) || errors.Is(err, engine.ErrNotFound) || !strings.Contains(err.Error(), "it answers pings, and gave no answer") {
				t.Errorf("it gave %v", err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			if err := ask(ctx); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, engine.ErrUnreachable) {
				t.Errorf("the caller's deadline gave %v", err)
			}
		})
	}
}

func TestAnEngineThatIsSlowButAlive(t *testing.T) {
	d := newDaemon(t)
	d.on("GET /containers/n/json", func(w http.ResponseWriter, r *http.Request) {
		if pause(r.Context(), 500*time.Millisecond) == nil {
			gives(containerNamed("n", "running", nil))(w, r)
		}
	})
	e := d.engine(t, Options{Timeout: 100 * time.Millisecond})
	if _, err := e.Node(t.Context(), "n"); err != nil {
		t.Errorf("it gave %v", err)
	}
}

func TestAnswersAreToldFromSilence(t *testing.T) {
	for name, test := range map[string]struct {
		handle      http.HandlerFunc
		unreachable bool
		want        string
	}{
		"reply dropped": {drops, true, "unix://"},
		"reply cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte(`{"Id": "`))
		}, true, "unix://"},
		"error 500":      {answers(500, "disk is full"), false, "unable to read container n: disk is full"},
		"error 400":      {answers(400, "bad name"), false, "unable to read container n: bad name"},
		"half an answer": {gives(fields{"Id": "x", "Name": "/n"}), false, "lacks parts"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDaemon(t)
			d.on("GET /containers/n/json", test.handle)
			_, err := d.engine(t, Options{}).Node(t.Context(), "n")
			if err == nil || errors.Is(err, engine.ErrUnreachable) != test.unreachable || errors.Is(err, engine.ErrNotFound) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("it gave %v", err)
			}
		})
	}
}

func TestTheVersionIsNegotiated(t *testing.T) {
	for offered, want := range map[string]string{"1.41": "/v1.41/", "1.44": "/v1.44/", "1.99": "/v1.56/"} {
		d := newDaemon(t)
		d.version = offered
		d.on("GET /networks", gives([]fields{}))
		if _, err := d.engine(t, Options{}).Networks(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if calls := d.called(); len(calls) != 1 || !strings.Contains(calls[0], want) {
			t.Errorf("an engine of %s was asked %v", offered, calls)
		}
	}
	d := newDaemon(t)
	d.version = "1.24"
	_, err := d.engine(t, Options{}).Networks(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), "API version 1.24") || errors.Is(err, engine.ErrUnreachable) || len(d.called()) != 0 {
		t.Errorf("an engine that is too old gave %v", err)
	}
}

func TestPull(t *testing.T) {
	present := gives(fields{"Id": "sha256:1", "RepoDigests": []string{"other/x@sha256:" + hex64, "ghcr.io/x/y@sha256:" + hex64}})
	stream := func(lines ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for _, line := range lines {
				_, _ = fmt.Fprintln(w, line)
				_ = http.NewResponseController(w).Flush()
			}
		}
	}
	t.Run("with the credentials of that registry", func(t *testing.T) {
		for reference, want := range map[string]string{"ghcr.io/x/y:1": "hub-not", "x/y:1": "hub", "quay.io/x/y:1": ""} {
			d := newDaemon(t)
			var header atomic.Value
			name := strings.TrimSuffix(reference, ":1")
			d.on("POST /images/create", func(w http.ResponseWriter, r *http.Request) {
				header.Store(r.Header.Get("X-Registry-Auth"))
				d.on("GET /images/"+name+":1/json", present)
				stream(`{"status":"Pulling from x"}`, `{"status":"Done"}`)(w, r)
			})
			e := d.engine(t, Options{Registries: map[string]Credentials{
				"ghcr.io": {"me", "hub-not"}, "https://index.docker.io/v1/": {"me", "hub"},
			}})
			image, err := e.ResolveImage(t.Context(), reference)
			if err != nil || image.ID != "sha256:1" {
				t.Errorf("%s gave %+v, %v", reference, image, err)
			}
			if !slices.Equal(image.Digests, []string{"sha256:" + hex64}) {
				t.Errorf("%s has the digests %s", reference, image.Digests)
			}
			raw, err := base64.URLEncoding.DecodeString(header.Load().(string))
			if err != nil {
				t.Fatal(err)
			}
			var sent struct{ Username, Password string }
			if len(raw) > 0 {
				if err := json.Unmarshal(raw, &sent); err != nil {
					t.Fatal(err)
				}
			}
			if sent.Password != want {
				t.Errorf("%s was asked for with %q", reference, sent.Password)
			}
		}
	})
	for name, test := range map[string]struct {
		handle http.HandlerFunc
		want   string
	}{
		"refused":       {answers(404, "pull access denied"), "could not be pulled from ghcr.io: pull access denied"},
		"error in it":   {stream(`{"status":"Pulling"}`, `{"errorDetail":{"message":"manifest unknown"},"error":"manifest unknown"}`), "manifest unknown"},
		"silent":        {hangs, "no answer within 200ms"},
		"not there yet": {stream(`{"status":"Done"}`), "no such thing"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDaemon(t)
			d.on("POST /images/create", test.handle)
			e := d.engine(t, Options{Registries: map[string]Credentials{"ghcr.io": {"me", "topsecret"}}})
			e.pullSilence = 200 * time.Millisecond
			_, err := e.ResolveImage(t.Context(), "ghcr.io/x/y:1")
			var absent *engine.ImageError
			if !errors.As(err, &absent) || absent.Host != "ghcr.io" || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "topsecret") {
				t.Errorf("it gave %v", err)
			}
		})
	}
	t.Run("given up by the caller", func(t *testing.T) {
		d := newDaemon(t)
		d.on("POST /images/create", hangs)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := d.engine(t, Options{}).ResolveImage(ctx, "x/y:1")
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, engine.ErrNoImage) {
			t.Errorf("it gave %v", err)
		}
	})
	t.Run("connection lost", func(t *testing.T) {
		d := newDaemon(t)
		d.on("POST /images/create", drops)
		_, err := d.engine(t, Options{}).ResolveImage(t.Context(), "x/y:1")
		if !errors.Is(err, engine.ErrUnreachable) || errors.Is(err, engine.ErrNoImage) {
			t.Errorf("it gave %v", err)
		}
	})
}

// A removal whose answer got lost is asked for again: the volume is gone, and was not lost.
func TestARemovalOfAVolumeWithoutAnAnswer(t *testing.T) {
	d := newDaemon(t)
	d.on("GET /volumes/v", gives(fields{"Name": "v", "Labels": map[string]string{engine.LabelOwner: "o"}}))
	var asked atomic.Int32
	d.on("DELETE /volumes/v", func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			drops(w, r)
			return
		}
		answers(http.StatusNotFound, "no such volume")(w, r)
	})
	if err := d.engine(t, Options{}).RemoveVolume(t.Context(), "v", "o"); err != nil || asked.Load() != 2 {
		t.Errorf("asked %d times it gave %v", asked.Load(), err)
	}
}

func TestLeakedEndpointsAreTakenOff(t *testing.T) {
	d := newDaemon(t)
	id, owner := strings.Repeat("a", 64), map[string]string{engine.LabelOwner: "o"}
	d.on("GET /networks", gives([]fields{{"Name": "net", "Id": id, "Labels": owner}}))
	d.on("DELETE /networks/"+id, answers(http.StatusForbidden, "has active endpoints"))
	d.on("GET /networks/"+id, gives(fields{"Name": "net", "Id": id, "Containers": fields{"ep-1": fields{"Name": "gone"}}}))
	var disconnected atomic.Value
	d.on("POST /networks/"+id+"/disconnect", func(_ http.ResponseWriter, r *http.Request) {
		var body struct {
			Container string
			Force     bool
		}
		_ = json.NewDecoder(r.Body).Decode(&body)
		disconnected.Store(fmt.Sprint(body.Container, body.Force))
		d.on("DELETE /networks/"+id, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	})
	if err := d.engine(t, Options{}).RemoveNetwork(t.Context(), "net", "o"); err != nil {
		t.Fatal(err)
	}
	if got := disconnected.Load(); got != "gonetrue" {
		t.Errorf("what was taken off is %v", got)
	}
}

func TestEndpointsThatTheEngineMiscounts(t *testing.T) {
	d := newDaemon(t)
	id := strings.Repeat("a", 64)
	d.on("GET /networks", gives([]fields{{"Name": "net", "Id": id, "Labels": map[string]string{engine.LabelOwner: "o"}}}))
	d.on("DELETE /networks/"+id, answers(http.StatusForbidden, "has active endpoints"))
	d.on("GET /networks/"+id, gives(fields{"Name": "net", "Id": id, "Containers": fields{}}))
	e := d.engine(t, Options{})
	e.networkHolders = 100 * time.Millisecond
	err := e.RemoveNetwork(t.Context(), "net", "o")
	for _, want := range []string{"unable to remove network net", "has active endpoints", "no container is attached", "next: restart the engine"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}

// Two processes make one network at once: we find the other's beside ours and take ours back.
func TestANetworkThatSomebodyElseMakesMeanwhile(t *testing.T) {
	d := newDaemon(t)
	ours, theirs := strings.Repeat("a", 64), strings.Repeat("b", 64)
	other := fields{"Name": "net", "Id": theirs, "Labels": map[string]string{engine.LabelOwner: "other"}}
	d.on("GET /networks", gives([]fields{}))
	d.on("POST /networks/create", func(w http.ResponseWriter, r *http.Request) {
		d.on("GET /networks", gives([]fields{other, {"Name": "net", "Id": ours, "Labels": map[string]string{engine.LabelOwner: "o"}}}))
		gives(fields{"Id": ours})(w, r)
	})
	var removed atomic.Bool
	d.on("DELETE /networks/"+ours, func(w http.ResponseWriter, _ *http.Request) {
		removed.Store(true)
		d.on("GET /networks", gives([]fields{other}))
		w.WriteHeader(http.StatusNoContent)
	})
	err := d.engine(t, Options{}).CreateNetwork(t.Context(), engine.NetworkSpec{Name: "net", Labels: map[string]string{engine.LabelOwner: "o"}})
	if !errors.Is(err, engine.ErrForeign) || !removed.Load() {
		t.Errorf("it gave %v; ours removed: %t", err, removed.Load())
	}
}

func TestANameThatIsStillBeingReleased(t *testing.T) {
	d := newDaemon(t)
	owner := map[string]string{engine.LabelOwner: "o"}
	d.on("GET /images/i/json", gives(fields{"Id": "sha256:i"}))
	d.on("GET /containers/n/json", gives(containerNamed("n", "removing", map[string]string{engine.LabelOwner: "old"})))
	var attempts atomic.Int32
	d.on("POST /containers/create", func(w http.ResponseWriter, r *http.Request) {
		if attempts.Add(1) < 3 {
			answers(http.StatusConflict, "name in use")(w, r)
			return
		}
		w.WriteHeader(http.StatusCreated)
		gives(fields{"Id": "new"})(w, r)
	})
	spec := engine.NodeSpec{Name: "n", Image: "i", User: "1:1", Labels: owner}
	if err := d.engine(t, Options{}).CreateNode(t.Context(), spec); err != nil || attempts.Load() != 3 {
		t.Errorf("after %d attempts it gave %v", attempts.Load(), err)
	}
}

func TestTurns(t *testing.T) {
	d := newDaemon(t)
	const nodes = 3 * maxTurns
	var now, most atomic.Int32
	for i := range nodes {
		id := fmt.Sprintf("%064d", i)
		c := containerNamed(fmt.Sprint("n", i), "running", map[string]string{engine.LabelOwner: "o"})
		c["Id"] = id
		d.on(fmt.Sprintf("GET /containers/n%d/json", i), gives(c))
		visit := func(w http.ResponseWriter, r *http.Request) {
			count := now.Add(1)
			defer now.Add(-1)
			for seen := most.Load(); count > seen && !most.CompareAndSwap(seen, count); seen = most.Load() {
			}
			if r.Method == http.MethodDelete && (r.URL.Query().Get("v") != "1" || r.URL.Query().Get("force") != "1") {
				t.Errorf("a removal was asked for with %s", r.URL.RawQuery)
			}
			_ = pause(r.Context(), 30*time.Millisecond)
			w.WriteHeader(http.StatusNoContent)
		}
		d.on("DELETE /containers/"+id, visit)
		d.on(fmt.Sprintf("POST /containers/n%d/start", i), visit)
		d.on(fmt.Sprintf("POST /containers/n%d/stop", i), visit)
	}
	e := d.engine(t, Options{})
	done := make(chan error, nodes)
	for i := range nodes {
		go func() {
			name := fmt.Sprint("n", i)
			switch i % 3 {
			case 0:
				done <- e.StartNode(t.Context(), name)
			case 1:
				done <- e.StopNode(t.Context(), name, time.Second)
			default:
				done <- e.RemoveNode(t.Context(), name, "o")
			}
		}()
	}
	for range nodes {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if most.Load() > maxTurns || most.Load() < 2 {
		t.Errorf("%d went at once", most.Load())
	}
}

// A run whose container was made though the answer got lost leaves nothing.
func TestARunWhoseCreationHadNoAnswer(t *testing.T) {
	d := newDaemon(t)
	d.on("GET /images/i/json", gives(fields{"Id": "sha256:i"}))
	var name atomic.Value
	d.on("POST /containers/create", func(w http.ResponseWriter, r *http.Request) {
		name.Store(r.URL.Query().Get("name"))
		drops(w, r)
	})
	d.on("GET", func(w http.ResponseWriter, r *http.Request) { // reading it, by whatever name it has
		gives(containerNamed(name.Load().(string), "created", map[string]string{engine.LabelOwner: "o"}))(w, r)
	})
	var removed atomic.Bool
	d.on("DELETE /containers/"+strings.Repeat("c", 64), func(w http.ResponseWriter, _ *http.Request) {
		removed.Store(true)
		w.WriteHeader(http.StatusNoContent)
	})
	spec := engine.NodeSpec{Name: "n", Image: "i", User: "1:1", Labels: map[string]string{engine.LabelOwner: "o"}}
	_, err := d.engine(t, Options{}).RunOnce(t.Context(), spec)
	if !errors.Is(err, engine.ErrUnreachable) || !removed.Load() {
		t.Errorf("it gave %v; removed: %t", err, removed.Load())
	}
}

// A run that was called off while its container was being made leaves nothing, although the engine
// makes it only afterwards.
func TestARunThatWasCalledOffWhileItWasMade(t *testing.T) {
	d := newDaemon(t)
	d.on("GET /images/i/json", gives(fields{"Id": "sha256:i"}))
	ctx, cancel := context.WithCancel(t.Context())
	var name atomic.Value
	var looks atomic.Int32
	d.on("POST /containers/create", func(w http.ResponseWriter, r *http.Request) {
		name.Store(r.URL.Query().Get("name"))
		_, _ = io.Copy(io.Discard, r.Body) // only then the server sees that the client is gone
		cancel()
		hangs(w, r)
	})
	d.on("GET", func(w http.ResponseWriter, r *http.Request) {
		if looks.Add(1) < 3 {
			answers(http.StatusNotFound, "no such container")(w, r)
			return
		}
		gives(containerNamed(name.Load().(string), "created", map[string]string{engine.LabelOwner: "o"}))(w, r)
	})
	var removed atomic.Bool
	d.on("DELETE /containers/"+strings.Repeat("c", 64), func(w http.ResponseWriter, _ *http.Request) {
		removed.Store(true)
		w.WriteHeader(http.StatusNoContent)
	})
	spec := engine.NodeSpec{Name: "n", Image: "i", User: "1:1", Labels: map[string]string{engine.LabelOwner: "o"}}
	_, err := d.engine(t, Options{}).RunOnce(ctx, spec)
	if !errors.Is(err, context.Canceled) || !removed.Load() {
		t.Errorf("it gave %v; removed: %t", err, removed.Load())
	}
}

// How a run ended is known by its wait, also when somebody who cleans up takes it away before its log
// is read, and when the engine does not know it by its name yet.
func TestARunThatSomebodyElseTakesAway(t *testing.T) {
	d := newDaemon(t)
	id := strings.Repeat("c", 64)
	d.on("GET /images/i/json", gives(fields{"Id": "sha256:i"}))
	d.on("POST /containers/create", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusCreated)
		gives(fields{"Id": id})(w, r)
	})
	d.on("POST /containers/"+id+"/start", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	d.on("POST /containers/"+id+"/wait", gives(fields{"StatusCode": 7}))
	spec := engine.NodeSpec{Name: "n", Image: "i", User: "1:1", Labels: map[string]string{engine.LabelOwner: "o"}}
	result, err := d.engine(t, Options{}).RunOnce(t.Context(), spec)
	if err != nil || result.ExitCode != 7 || len(result.Output) != 0 {
		t.Errorf("it gave %+v, %v", result, err)
	}
}

// An engine that still finds a volume in use, although nobody mounts it who stays, is waited for.
func TestAVolumeThatIsStillBeingReleased(t *testing.T) {
	d := newDaemon(t)
	labels := map[string]string{engine.LabelOwner: "o"}
	d.on("GET /volumes/v", gives(fields{"Name": "v", "Labels": labels}))
	d.on("GET /containers/json", gives([]fields{{"Id": "x", "Names": []string{"/leaving"}, "State": "removing"}}))
	var attempts atomic.Int32
	d.on("DELETE /volumes/v", func(w http.ResponseWriter, r *http.Request) {
		if attempts.Add(1) < 3 {
			answers(http.StatusConflict, "volume is in use")(w, r)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	e := d.engine(t, Options{})
	if err := e.RemoveVolume(t.Context(), "v", "o"); err != nil || attempts.Load() != 3 {
		t.Errorf("after %d attempts it gave %v", attempts.Load(), err)
	}
	attempts.Store(0)
	d.on("GET /containers/json", gives([]fields{{"Id": "x", "Names": []string{"/stays"}, "State": "exited"}}))
	if err := e.RemoveVolume(t.Context(), "v", "o"); err == nil || !strings.Contains(err.Error(), "containers mount it: stays") || attempts.Load() != 1 {
		t.Errorf("after %d attempts of a volume that is mounted it gave %v", attempts.Load(), err)
	}
}

// Where a node is reached is asked once while it is dialled again and again, and anew when something
// was done to it, when it cannot be reached there, and after a moment.
func TestDialRemembersWhereForAMoment(t *testing.T) {
	d := newDaemon(t)
	var asked atomic.Int32
	listen := func() (net.Listener, string) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = listener.Close() })
		_, port, _ := net.SplitHostPort(listener.Addr().String())
		return listener, port
	}
	published := func(port string) {
		c := containerNamed("n", "running", map[string]string{engine.LabelOwner: "o"})
		c["HostConfig"] = fields{"PortBindings": fields{"7051/tcp": []fields{{"HostIp": "127.0.0.1", "HostPort": port}}}}
		d.on("GET /containers/n/json", func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			gives(c)(w, r)
		})
	}
	first, port := listen()
	published(port)
	d.on("POST /containers/n/start", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	e := d.engine(t, Options{})
	dial := func(wanted int32) {
		t.Helper()
		conn, err := e.Dial(t.Context(), "n", 7051)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		if asked.Load() != wanted {
			t.Errorf("the engine was asked %d times, want %d", asked.Load(), wanted)
		}
	}
	dial(1)
	dial(1)
	if err := e.StartNode(t.Context(), "n"); err != nil {
		t.Fatal(err)
	}
	asked.Store(1) // to start it was asked what the name stands for
	dial(2)
	_ = first.Close()
	_, port = listen()
	published(port) // somebody else made it anew
	if _, err := e.Dial(t.Context(), "n", 7051); err == nil {
		t.Error("a port on which nobody listens was reached")
	}
	dial(3)
	e.reached.targets[nodePort{"n", 7051}] = target{"127.0.0.1:1", time.Now().Add(-time.Second)}
	dial(4)
	e.reached.forget("n")
	e.reached.put(nodePort{"n", 7051}, "127.0.0.1:1", time.Now().Add(-time.Second)) // an answer from before
	dial(5)
}

// Of another host only what the engine itself knows is known.
func TestPortsOfARemoteEngine(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	here := listener.Addr().(*net.TCPAddr).Port
	d := newDaemon(t)
	d.on("GET /containers/json", gives([]fields{{
		"Id": "x", "Names": []string{"/other/n", "/n"}, "State": "running",
		"Ports": []fields{{"IP": "0.0.0.0", "PrivatePort": 7051, "PublicPort": 17051, "Type": "tcp"}, {"IP": "127.0.0.1", "PrivatePort": 1, "PublicPort": 17052, "Type": "tcp"}, {"PrivatePort": 9443, "Type": "tcp"}},
	}}))
	e := d.engine(t, Options{})
	e.address.local = false
	for _, test := range []struct {
		address string
		port    int
		holder  string
	}{{"127.0.0.1", 17051, "n"}, {"192.0.2.1", 17052, ""}, {"127.0.0.1", 17052, "n"}, {"0.0.0.0", 17052, "n"}, {"127.0.0.1", 9443, ""}, {"127.0.0.1", here, ""}} {
		holder, free, err := e.holder(t.Context(), test.address, test.port, "me")
		if err != nil || holder != test.holder || free != (test.holder == "") {
			t.Errorf("port %d at %s is held by %q, free %t, %v", test.port, test.address, holder, free, err)
		}
	}
}

// Somebody else removes the same container: we wait for it.
func TestARemovalThatIsUnderWay(t *testing.T) {
	d := newDaemon(t)
	c := containerNamed("n", "removing", map[string]string{engine.LabelOwner: "o"})
	id := c["Id"].(string)
	d.on("GET /containers/n/json", gives(c))
	d.on("DELETE /containers/"+id, answers(http.StatusConflict, "removal is already in progress"))
	var waited atomic.Value
	d.on("POST /containers/"+id+"/wait", func(w http.ResponseWriter, r *http.Request) {
		waited.Store(r.URL.Query().Get("condition"))
		gives(fields{"StatusCode": 137})(w, r)
	})
	if err := d.engine(t, Options{}).RemoveNode(t.Context(), "n", "o"); err != nil || waited.Load() != "removed" {
		t.Errorf("it gave %v, after waiting for %v", err, waited.Load())
	}
}

func TestErrorsDoNotTellWhatIsSecret(t *testing.T) {
	d := newDaemon(t)
	d.on("GET /images/i/json", gives(fields{"Id": "sha256:i"}))
	d.on("POST /containers/create", answers(500, "no"))
	e := d.engine(t, Options{})
	for _, env := range []map[string]string{{"A": "topsecret"}, {"A": "topsecret\x00"}, {"A=B": "topsecret"}, {"": "topsecret"}} {
		spec := engine.NodeSpec{Name: "n", Image: "i", User: "1:1", Env: env, Labels: map[string]string{engine.LabelOwner: "o"}}
		if err := e.CreateNode(t.Context(), spec); err == nil || strings.Contains(err.Error(), "topsecret") {
			t.Errorf("it gave %v", err)
		}
	}
}

func TestMutualTLS(t *testing.T) {
	root, rootKey := certificate(t, nil, nil, "root")
	server, serverKey := certificate(t, root, rootKey, "127.0.0.1")
	mine, mineKey := certificate(t, root, rootKey, "client")
	pool := x509.NewCertPool()
	pool.AddCert(root)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.41")
		gives(fields{"ID": "remote"})(w, r)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MinVersion: tls.VersionTLS12,
		Certificates: []tls.Certificate{{Certificate: [][]byte{server.Raw}, PrivateKey: serverKey}},
	}
	s.StartTLS()
	defer s.Close()
	address := "tcp://" + s.Listener.Addr().String()
	material := &TLS{CA: pemCertificate(root), Certificate: pemCertificate(mine), Key: pemKey(t, mineKey)}
	info, err := newEngine(t, Options{Host: address, TLS: material}).Info(t.Context())
	if err != nil || info.ID != "remote" || info.Address != address {
		t.Errorf("it gave %+v, %v", info, err)
	}
	for name, wrong := range map[string]*TLS{"no certificate": {CA: material.CA}, "another root": {Certificate: material.Certificate, Key: material.Key}} {
		if _, err := newEngine(t, Options{Host: address, TLS: wrong}).Info(t.Context()); !errors.Is(err, engine.ErrUnreachable) {
			t.Errorf("%s gave %v", name, err)
		}
	}
}

func certificate(t *testing.T, parent *x509.Certificate, signer *ecdsa.PrivateKey, name string) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	}
	if parent == nil {
		parent, signer = template, key
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return out, key
}

func pemCertificate(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func pemKey(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

var hex64 = strings.Repeat("ab", 32)
