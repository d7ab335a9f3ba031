//go:build linux

package fault

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"go.uber.org/goleak"
)

// callVariable has the test binary be a provider: it makes one call at the socket that it holds.
const callVariable = "FABRIC_FAULT_CALL"

func TestMain(m *testing.M) {
	if socket := os.Getenv(callVariable); socket != "" {
		_, _ = at(socket).Post("http://docker/containers/create?name=x", "", nil)
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// fakeEngine is an engine that notes what reaches it.
type fakeEngine struct {
	mu       sync.Mutex
	requests []string
	// nodePort is the port at which its only container is published.
	nodePort string
}

func (e *fakeEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	content, err := io.ReadAll(r.Body)
	note := r.Method + " " + r.URL.Path
	if err != nil {
		note += " (torn)"
	}
	e.mu.Lock()
	e.requests = append(e.requests, note)
	e.mu.Unlock()
	switch {
	case strings.HasSuffix(r.URL.Path, "/events"):
		for range 3 {
			_, _ = fmt.Fprintln(w, "event")
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
	case strings.HasSuffix(r.URL.Path, "/start") && r.Header.Get("Upgrade") != "":
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = fmt.Fprint(buffered, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		_ = buffered.Flush()
		line, _ := buffered.ReadString('\n')
		_, _ = fmt.Fprint(conn, "echo "+line)
	case strings.HasSuffix(r.URL.Path, "/containers/peer/json"):
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"Id":"1","Name":"/peer","State":{"Running":true},"Config":{"Env":["A=<&>"]},"HostConfig":{"Memory":9007199254740993,"PortBindings":{"7051/tcp":[{"HostIp":"127.0.0.1","HostPort":%q}]}},"NetworkSettings":{"Ports":{"7051/tcp":[{"HostIp":"127.0.0.1","HostPort":%q}]}}}`, e.nodePort, e.nodePort)
	case r.Method == http.MethodPost:
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, `{"Id":"%d"}`, len(content))
	}
}

func (e *fakeEngine) saw(note string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Contains(e.requests, note)
}

func at(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, "unix", socket)
	}}}
}

func start(t *testing.T) (*Proxy, *fakeEngine, *http.Client) {
	t.Helper()
	dir := t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(dir, "engine.sock"))
	must(t, err)
	engine := &fakeEngine{}
	server := &http.Server{Handler: engine, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	p, err := New(filepath.Join(dir, "proxy.sock"), "unix://"+filepath.Join(dir, "engine.sock"))
	must(t, err)
	t.Cleanup(func() {
		must(t, p.Close())
		must(t, server.Close())
		<-done
	})
	return p, engine, at(filepath.Join(dir, "proxy.sock"))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func arm(t *testing.T, p *Proxy, f Fault) Report {
	t.Helper()
	report, err := p.Arm(f)
	must(t, err)
	return report
}

// post makes a call and gives its status and the body; an error also when the body was cut.
func post(t *testing.T, c *http.Client, path, body string) (int, string, error) {
	t.Helper()
	method := http.MethodPost
	if strings.HasSuffix(path, "/archive") {
		method = http.MethodPut
	}
	request, err := http.NewRequestWithContext(t.Context(), method, "http://docker/v1.41"+path, strings.NewReader(body))
	must(t, err)
	reply, err := c.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer reply.Body.Close()
	content, err := io.ReadAll(reply.Body)
	return reply.StatusCode, string(content), err
}

func TestEngineFaults(t *testing.T) {
	const create = "/containers/create?name=peer"
	for _, tc := range []struct {
		kind Kind
		path string
		// reaches tells whether the engine sees the call, torn that it sees a part, status what the caller gets; 0 is an error.
		reaches, torn bool
		status        int
	}{
		{DropRequest, create, false, false, 0},
		{DropReply, create, true, false, 0},
		{Delay, create, true, false, http.StatusCreated},
		{Refuse, create, false, false, http.StatusInternalServerError},
		{CutReply, create, true, false, http.StatusCreated},
		{CutUpload, "/containers/peer/archive", true, true, 0},
		{Silence, create, false, false, 0},
		{Hang, create, false, false, 0},
	} {
		t.Run(string(tc.kind), func(t *testing.T) {
			p, engine, c := start(t)
			arm(t, p, Fault{Engine, tc.kind, 2, 20 * time.Millisecond})
			if _, _, err := post(t, c, tc.path, "first"); err != nil {
				t.Fatalf("the first call fails: %v", err)
			}
			if _, _, err := post(t, c, "/containers/peer/wait", ""); err != nil {
				t.Fatalf("a wait fails, which does not count: %v", err)
			}
			engine.mu.Lock()
			engine.requests = nil
			engine.mu.Unlock()
			status, body, err := post(t, c, tc.path, "second, which is longer")
			if tc.status == 0 && err == nil || tc.kind == CutReply && err == nil {
				t.Errorf("the call does not fail: %d %s", status, body)
			}
			if tc.status != 0 && status != tc.status {
				t.Errorf("the call gives %d, not %d (%v)", status, tc.status, err)
			}
			path, _, _ := strings.Cut(tc.path, "?")
			note := "POST /v1.41" + path
			if tc.torn {
				note = "PUT /v1.41" + path + " (torn)"
			}
			if engine.saw(note) != tc.reaches {
				t.Errorf("the engine saw %v", engine.requests)
			}
			if _, _, err := post(t, c, tc.path, "third"); err != nil {
				t.Errorf("the call after it fails: %v", err)
			}
			report := arm(t, p, Fault{})
			if report.Struck == "" || report.Calls(Engine, tc.kind) != 3 {
				t.Errorf("the report is %+v", report)
			}
		})
	}
}

// TestSilence holds up every later call too, pings included, until the proxy is armed anew.
func TestSilence(t *testing.T) {
	p, engine, c := start(t)
	arm(t, p, Fault{Engine, Silence, 1, 0})
	failed := make(chan error, 2)
	go func() { _, _, err := post(t, c, "/containers/create", ""); failed <- err }()
	look, begun := time.NewTicker(time.Millisecond), time.Now()
	defer look.Stop()
	for silent := false; !silent; _, silent = p.silence("") {
		if <-look.C; time.Since(begun) > 5*time.Second {
			t.Fatal("no silence begins")
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/_ping", nil)
	must(t, err)
	if _, err := c.Do(request); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a ping during the silence ends with %v", err)
	}
	arm(t, p, Fault{})
	if err := <-failed; err == nil {
		t.Error("the call that met the silence was answered")
	}
	if engine.saw("POST /containers/create") || engine.saw("GET /_ping") {
		t.Errorf("the engine saw %v", engine.requests)
	}
}

// TestStreams: the real client's events and hijacked connections pass.
func TestStreams(t *testing.T) {
	p, _, _ := start(t)
	c, err := client.New(client.WithHost(p.Host()))
	must(t, err)
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/v1.41/events", nil)
	must(t, err)
	reply, err := at(p.socket).Do(request)
	must(t, err)
	lines := bufio.NewScanner(reply.Body)
	for range 3 {
		if !lines.Scan() || lines.Text() != "event" {
			t.Fatalf("no event: %q %v", lines.Text(), lines.Err())
		}
	}
	must(t, reply.Body.Close())

	conn, err := net.Dial("unix", p.socket)
	must(t, err)
	defer conn.Close()
	_, err = fmt.Fprint(conn, "POST /v1.41/exec/1/start HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n")
	must(t, err)
	stream := bufio.NewReader(conn)
	upgraded, err := http.ReadResponse(stream, nil)
	must(t, err)
	if upgraded.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the connection was not upgraded: %s", upgraded.Status)
	}
	_, err = fmt.Fprintln(conn, "hello")
	must(t, err)
	must(t, conn.SetReadDeadline(time.Now().Add(5*time.Second)))
	if line, err := stream.ReadString('\n'); err != nil || line != "echo hello\n" {
		t.Errorf("the stream says %q %v", line, err)
	}
}

// TestKill: the process that made the call is killed, before or after the engine did its work.
func TestKill(t *testing.T) {
	for _, kind := range []Kind{KillBefore, KillAfter} {
		t.Run(string(kind), func(t *testing.T) {
			p, engine, _ := start(t)
			arm(t, p, Fault{Side: Engine, Kind: kind, Call: 1})
			command := exec.CommandContext(t.Context(), os.Args[0])
			command.Env = append(os.Environ(), callVariable+"="+p.socket)
			_ = command.Run() // its status tells
			if status, ok := command.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
				t.Errorf("the caller ended with %v", command.ProcessState)
			}
			if engine.saw("POST /containers/create") != (kind == KillAfter) {
				t.Errorf("the engine saw %v", engine.requests)
			}
			arm(t, p, Fault{})
		})
	}
}

// TestInterrupt: the parent of the process that made the call is interrupted.
func TestInterrupt(t *testing.T) {
	p, _, _ := start(t)
	arm(t, p, Fault{Side: Engine, Kind: Interrupt, Call: 1})
	// The shell is the parent, and tells that it was interrupted.
	command := exec.CommandContext(t.Context(), "sh", "-c", `trap 'echo interrupted' INT; "$0"; true`, os.Args[0])
	command.Env = append(os.Environ(), callVariable+"="+p.socket)
	output, err := command.CombinedOutput()
	must(t, err)
	if !strings.Contains(string(output), "interrupted") {
		t.Errorf("the parent was not interrupted: %q", output)
	}
	arm(t, p, Fault{})
}

// echo is a node that answers every line.
func echo(t *testing.T) (port string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var work sync.WaitGroup
	work.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer conn.Close()
				lines := bufio.NewScanner(conn)
				for lines.Scan() {
					_, _ = fmt.Fprintln(conn, "echo "+lines.Text())
				}
			})
		}
	})
	t.Cleanup(func() { _ = listener.Close(); work.Wait() })
	_, port, err = net.SplitHostPort(listener.Addr().String())
	must(t, err)
	return port
}

// reach asks where the node is, as the provider does, and connects.
func reach(t *testing.T, p *Proxy) net.Conn {
	t.Helper()
	c, err := client.New(client.WithHost(p.Host()))
	must(t, err)
	defer c.Close()
	have, err := c.ContainerInspect(t.Context(), "peer", client.ContainerInspectOptions{})
	must(t, err)
	if have.Container.HostConfig.Memory != 9007199254740993 || have.Container.Config.Env[0] != "A=<&>" {
		t.Errorf("the inspection was changed: %+v", have.Container)
	}
	for _, bindings := range have.Container.HostConfig.PortBindings {
		if bindings[0].HostIP.String() == "127.0.0.1" {
			t.Error("the node's own address is told")
		}
		conn, err := net.Dial("tcp", net.JoinHostPort(bindings[0].HostIP.String(), bindings[0].HostPort))
		must(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	t.Fatal("no port is published")
	return nil
}

func say(t *testing.T, conn net.Conn, word string) (string, error) {
	t.Helper()
	_, _ = fmt.Fprintln(conn, word) // what comes of it tells
	must(t, conn.SetReadDeadline(time.Now().Add(5*time.Second)))
	line, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line), err
}

func TestNodeFaults(t *testing.T) {
	for _, kind := range []Kind{DropRequest, DropReply, CutUpload, Delay, Hang} {
		t.Run(string(kind), func(t *testing.T) {
			p, engine, _ := start(t)
			engine.nodePort = echo(t)
			arm(t, p, Fault{Peer, kind, 2, 20 * time.Millisecond})
			conn := reach(t, p)
			if line, err := say(t, conn, "one"); err != nil || line != "echo one" {
				t.Fatalf("the first write gets %q %v", line, err)
			}
			if _, err := say(t, conn, "two"); (err == nil) != (kind == Delay) {
				t.Errorf("the second write gets %v", err)
			}
			if line, err := say(t, reach(t, p), "three"); err != nil || line != "echo three" {
				t.Errorf("the write after it gets %q %v", line, err)
			}
			if report := arm(t, p, Fault{}); report.Struck != "write to peer 7051/tcp" || report.Calls(Peer, kind) != 3 {
				t.Errorf("the report is %+v", report)
			}
		})
	}
	t.Run(string(Refuse), func(t *testing.T) {
		p, engine, _ := start(t)
		engine.nodePort = echo(t)
		arm(t, p, Fault{Peer, Refuse, 1, 0})
		if _, err := say(t, reach(t, p), "one"); err == nil {
			t.Error("the first connection is answered")
		}
		if _, err := say(t, reach(t, p), "two"); err != nil {
			t.Errorf("the second one is not: %v", err)
		}
	})
	t.Run(string(Silence), func(t *testing.T) {
		p, engine, _ := start(t)
		engine.nodePort = echo(t)
		arm(t, p, Fault{Peer, Silence, 1, 100 * time.Millisecond})
		first, second := reach(t, p), reach(t, p)
		begun := time.Now()
		for _, conn := range []net.Conn{first, second} {
			_, err := fmt.Fprintln(conn, "one")
			must(t, err)
		}
		for _, conn := range []net.Conn{first, second} {
			must(t, conn.SetReadDeadline(time.Now().Add(5*time.Second)))
			if _, err := bufio.NewReader(conn).ReadString('\n'); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("a connection to the silent node ends with %v", err)
			}
			if time.Since(begun) < 90*time.Millisecond {
				t.Errorf("the node was silent for %s", time.Since(begun))
			}
		}
		if line, err := say(t, reach(t, p), "two"); err != nil || line != "echo two" {
			t.Errorf("after the silence the node says %q %v", line, err)
		}
	})
}
