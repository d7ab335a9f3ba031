//go:build linux

package fault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"regexp"
	"strings"
)

var (
	quiet = log.New(io.Discard, "", 0)
	// errCut is what a stream ends with that the proxy cuts.
	errCut = errors.New("the proxy cut the connection")
)

var (
	apiVersion  = regexp.MustCompile(`^/v[0-9.]+`)
	containerID = regexp.MustCompile(`[0-9a-f]{64}`)
	inspection  = regexp.MustCompile(`^/containers/([^/]+)/json$`)
)

// handler hands requests on to the engine.
func (p *Proxy) handler() http.Handler {
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", "docker"
		},
		Transport:      p.upstream,
		FlushInterval:  -1, // events come one by one
		ErrorLog:       quiet,
		ModifyResponse: p.redirect,
		ErrorHandler:   func(http.ResponseWriter, *http.Request, error) { hangUp() },
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		pid, _ := r.Context().Value(callerKey{}).(int)
		p.asks(pid)
		if over, silent := p.silence(""); silent {
			mute(r, over)
		}
		call := classify(r)
		fault, struck := Fault{}, false
		if call.side != "" {
			call.what = p.named(call.what)
			fault, struck = p.meets(call.side, call.kinds, "", call.what)
		}
		if !struck {
			if call.replies {
				w = &replier{ResponseWriter: w, proxy: p, call: call}
			}
			forward.ServeHTTP(w, r)
			return
		}
		switch fault.Kind {
		case DropRequest:
			hangUp()
		case Refuse:
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write([]byte(`{"message":"the proxy refused this call"}`)) // who has gone needs no answer
			return
		case Silence:
			over, _ := p.silence("")
			mute(r, over)
		case Delay:
			p.wait(r.Context(), fault)
		case Hang:
			_, _ = io.Copy(io.Discard, r.Body) // as in mute
			p.wait(r.Context(), fault)
			hangUp()
		case KillBefore:
			p.strike(fault.Kind, pid)
			hangUp()
		case Interrupt:
			p.strike(fault.Kind, pid)
		case CutUpload:
			r.Body = half(r.Body)
		case DropReply, KillAfter:
			// The caller may go at once; the engine is to do its work all the same.
			r = r.WithContext(context.WithoutCancel(r.Context()))
			forward.ServeHTTP(&swallower{header: http.Header{}}, r)
			p.strike(fault.Kind, pid)
			hangUp()
		}
		forward.ServeHTTP(w, r)
	})
}

// hangUp breaks the connection to the caller, and never returns.
func hangUp() {
	panic(http.ErrAbortHandler) //nolint:forbidigo // the only way of a handler of net/http
}

// mute holds a caller up until it goes or the silence is over, and then hangs up.
func mute(r *http.Request, over <-chan struct{}) {
	// The server notices that a caller goes once the body was read.
	_, _ = io.Copy(io.Discard, r.Body) // a caller that goes is as good
	select {
	case <-over:
	case <-r.Context().Done():
	}
	hangUp()
}

// engineCall is what a request is counted as.
type engineCall struct {
	side  Side
	kinds []Kind
	what  string
	// replies: whether CutReply applies is known when the reply comes.
	replies bool
}

// classify leaves out pings, waits and everything else that holds no risk or never ends.
func classify(r *http.Request) engineCall {
	path := apiVersion.ReplaceAllString(r.URL.Path, "")
	what := r.Method + " " + path
	if name := r.URL.Query().Get("name"); name != "" {
		what += " " + name
	}
	switch last := path[strings.LastIndexByte(path, '/')+1:]; {
	case last == "_ping" || last == "version" || last == "events" || last == "session" || last == "auth":
		return engineCall{}
	case last == "wait" || last == "attach" || last == "resize":
		return engineCall{}
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		return engineCall{side: Reading, kinds: []Kind{DropRequest}, what: what}
	case r.Method == http.MethodPut && last == "archive":
		return engineCall{side: Engine, kinds: []Kind{DropRequest, CutUpload}, what: what}
	}
	return engineCall{side: Engine, kinds: []Kind{DropRequest}, what: what, replies: true}
}

// named writes a container's name in place of its ID, where it is known.
func (p *Proxy) named(what string) string {
	return containerID.ReplaceAllStringFunc(what, func(id string) string {
		if name, known := p.names.Load(id); known {
			return name.(string) //nolint:forcetypeassert // nothing else is stored
		}
		return id
	})
}

// half gives the first half of what is to be sent, and then an error.
func half(body io.ReadCloser) io.ReadCloser {
	content, err := io.ReadAll(body)
	if err == nil {
		err = errCut
	}
	return io.NopCloser(io.MultiReader(bytes.NewReader(content[:len(content)/2]), failing{err}))
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// swallower takes a reply and gives it to nobody.
type swallower struct{ header http.Header }

func (s *swallower) Header() http.Header         { return s.header }
func (s *swallower) Write(p []byte) (int, error) { return len(p), nil }
func (s *swallower) WriteHeader(int)             {}

// replier counts a reply that has a body, and cuts it when that is what the fault is.
type replier struct {
	http.ResponseWriter
	proxy *Proxy
	call  engineCall
	met   bool
}

func (w *replier) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *replier) Write(b []byte) (int, error) {
	if w.met {
		return w.ResponseWriter.Write(b)
	}
	w.met = true
	if _, struck := w.proxy.meets(w.call.side, []Kind{CutReply}, "", w.call.what); !struck {
		return w.ResponseWriter.Write(b)
	}
	_, _ = w.ResponseWriter.Write(b[:len(b)/2]) // who has gone needs no answer
	_ = http.NewResponseController(w.ResponseWriter).Flush()
	hangUp()
	return 0, errCut
}

// redirect writes into the reply of an inspection that the ports of the container, as far as they are
// published on the loopback address, are reached at the proxy's own.
func (p *Proxy) redirect(reply *http.Response) error {
	asked := inspection.FindStringSubmatch(apiVersion.ReplaceAllString(reply.Request.URL.Path, ""))
	if asked == nil || reply.Request.Method != http.MethodGet || reply.StatusCode != http.StatusOK {
		return nil
	}
	content, err := io.ReadAll(reply.Body)
	if err != nil {
		return err
	}
	_ = reply.Body.Close() // all of it was read
	if changed, err := p.redirected(content); err == nil {
		content = changed
	} else {
		p.fail(fmt.Errorf("unable to read the inspection of container %s: %w", asked[1], err))
	}
	reply.Body = io.NopCloser(bytes.NewReader(content))
	reply.ContentLength = int64(len(content))
	reply.Header.Set("Content-Length", fmt.Sprint(len(content)))
	return nil
}

// redirected changes addresses only: everything else stays as the engine wrote it.
func (p *Proxy) redirected(inspection []byte) ([]byte, error) {
	type binding struct{ HostIp, HostPort string }
	var whole, host map[string]json.RawMessage
	var state struct {
		ID, Name        string
		State           struct{ Running bool }
		NetworkSettings struct{ Ports map[string][]binding }
	}
	bindings := map[string][]binding{}
	if err := errors.Join(json.Unmarshal(inspection, &whole), json.Unmarshal(inspection, &state)); err != nil {
		return nil, err
	}
	p.names.Store(state.ID, strings.TrimPrefix(state.Name, "/"))
	if err := json.Unmarshal(whole["HostConfig"], &host); err != nil {
		return nil, err
	}
	if len(host["PortBindings"]) == 0 || !state.State.Running {
		return inspection, nil
	}
	if err := json.Unmarshal(host["PortBindings"], &bindings); err != nil {
		return nil, err
	}
	for port, of := range bindings {
		for i, b := range of {
			address, err := netip.ParseAddr(b.HostIp)
			if err != nil || !address.IsLoopback() {
				continue
			}
			hostPort := b.HostPort
			if actual := state.NetworkSettings.Ports[port]; (hostPort == "" || hostPort == "0") && i < len(actual) {
				hostPort = actual[i].HostPort
			}
			if err := p.stand(strings.TrimPrefix(state.Name, "/"), port, b.HostIp, hostPort); err != nil {
				return nil, err
			}
			of[i].HostIp = p.loopback
		}
	}
	var err error
	if host["PortBindings"], err = json.Marshal(bindings); err != nil {
		return nil, err
	}
	if whole["HostConfig"], err = json.Marshal(host); err != nil {
		return nil, err
	}
	return json.Marshal(whole)
}
