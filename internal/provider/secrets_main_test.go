package provider

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/moby/moby/client"
	"go.uber.org/goleak"
)

// TestMain has every secret that an acceptance run puts on the engine remembered, and searches all that
// Terraform and the provider left for them: states, plans, configurations, and with FABRIC_TRACE=1 their
// TRACE logs, error messages included. No run leaves a volume that nobody named. Unit tests must leave no
// goroutine running; in an acceptance run Terraform's own library leaves some.
func TestMain(m *testing.M) {
	if os.Getenv(resource.EnvTfAcc) == "" {
		// What serves the provider to Terraform in a test reads from a pipe until the garbage collector closes it.
		goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/hashicorp/go-plugin.copyChan"))
		return
	}
	left, err := os.MkdirTemp("", "acceptance-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	secrets := &canaries{tokens: map[string]string{}}
	stop, err := secrets.listen(filepath.Join(left, "engine.sock"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	work := filepath.Join(left, "work")
	err = errors.Join(os.Mkdir(work, 0o700), os.Setenv("TF_ACC_TEMP_DIR", work), os.Setenv("TF_ACC_PERSIST_WORKING_DIR", "1"))
	if os.Getenv("FABRIC_TRACE") == "1" {
		err = errors.Join(err, os.Setenv("TF_ACC_LOG_PATH", filepath.Join(work, "trace.log")))
	}
	before, listed := unnamedVolumes()
	code := 1
	if err = errors.Join(err, listed); err == nil {
		code = m.Run()
		err = errors.Join(secrets.search(work), noUnnamedVolumes(before))
	}
	if err = errors.Join(err, stop(), os.RemoveAll(left)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// unnamedVolumes gives those that nobody named and no container mounts.
func unnamedVolumes() (map[string]bool, error) {
	api, err := client.New(client.FromEnv)
	if err != nil {
		return nil, err
	}
	defer func() { _ = api.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	list, err := api.VolumeList(ctx, client.VolumeListOptions{Filters: make(client.Filters).Add("dangling", "true")})
	out := map[string]bool{}
	for _, v := range list.Items {
		if anonymousVolume.MatchString(v.Name) {
			out[v.Name] = true
		}
	}
	return out, err
}

// noUnnamedVolumes looks for those that came since. Images declare volumes, and who removes a container without
// them leaves them for good. Where several runs share an engine, they may be another one's.
func noUnnamedVolumes(before map[string]bool) error {
	if os.Getenv("TEST_NETWORK_PREFIX") != "" {
		return nil
	}
	after, err := unnamedVolumes()
	left := []error{err}
	for name := range after {
		if !before[name] {
			left = append(left, fmt.Errorf("anonymous volume %s is left", name))
		}
	}
	return errors.Join(left...)
}

// canaries are the secrets of a run as they stand in files: a line of a key, or a whole secret.
type canaries struct {
	mu sync.Mutex
	// tokens tells where each came from.
	tokens map[string]string
}

// listen puts itself before the engine, and has everything go through it: what is uploaded is looked at.
func (c *canaries) listen(socket string) (stop func() error, err error) {
	host := os.Getenv("DOCKER_HOST")
	if host == "" {
		host = defaultDockerHost
	}
	path, local := strings.CutPrefix(host, "unix://")
	if !local {
		return nil, fmt.Errorf("acceptance tests look at what reaches the engine, for which it must be at a unix socket, not at %s", host)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "engine"})
	proxy.Transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
		MaxIdleConnsPerHost: 64,
	}
	proxy.FlushInterval = -1
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) } // the connection breaks, as the engine's did
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/archive") {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				panic(http.ErrAbortHandler)
			}
			c.remember(r.URL.Path, body)
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/containers/create") {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				panic(http.ErrAbortHandler)
			}
			c.rememberEnvironment(r.URL.Query().Get("name"), body)
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		proxy.ServeHTTP(w, r)
	})}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	return func() error {
		err := server.Close()
		if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	}, os.Setenv("DOCKER_HOST", "unix://"+socket)
}

// remember takes the secrets out of an uploaded archive.
func (c *canaries) remember(where string, archive []byte) {
	uploaded := map[string][]byte{} // what a file arrives as, and takes its place by a link then
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := r.Next()
		if err != nil {
			return
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return
		}
		if header.Typeflag == tar.TypeLink {
			content = uploaded[header.Linkname]
		}
		uploaded[header.Name] = content
		switch {
		case bytes.Contains(content, []byte("PRIVATE KEY")):
			_, key, _ := strings.Cut(string(content), "PRIVATE KEY-----\n")
			key, _, _ = strings.Cut(key, "\n-----END")
			lines := strings.Split(key, "\n")
			line := lines[0] // of an elliptic curve, whose public part comes last
			if len(lines) > 4 {
				line = lines[len(lines)-2] // of RSA, whose public part comes first
			}
			c.add(line, where+" "+header.Name)
		case strings.HasSuffix(header.Name, "/secret") || strings.Contains(header.Name, "state_databases/"):
			c.add(strings.TrimSpace(string(content)), where+" "+header.Name)
		}
	}
}

// rememberEnvironment takes the secrets out of the environment of a container that is made: by their names.
func (c *canaries) rememberEnvironment(container string, body []byte) {
	var made struct{ Env []string }
	if json.Unmarshal(body, &made) != nil {
		return
	}
	for _, variable := range made.Env {
		if name, value, _ := strings.Cut(variable, "="); strings.HasSuffix(name, "_SECRET") {
			c.add(value, "the environment of "+container)
		}
	}
}

func (c *canaries) add(token, from string) {
	if len(token) < 16 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tokens[token] = from
}

// word is what a secret can be within: lines of PEM in base64, and generated secrets.
var word = regexp.MustCompile(`[A-Za-z0-9+/_-]{16,}={0,2}`)

// search looks into every file. The directories of identities are where keys belong.
func (c *canaries) search(root string) error {
	var found []error
	files, size := 0, int64(0)
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || strings.Contains(name, "/.terraform/") {
			return err
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		files, size = files+1, size+int64(len(content))
		found = append(found, c.in(strings.TrimPrefix(name, root), content)...)
		return nil
	})
	fmt.Printf("%d files of %d MiB were searched for %d secrets\n", files, size>>20, len(c.tokens))
	return errors.Join(append(found, err)...)
}

func (c *canaries) in(name string, content []byte) (found []error) {
	// The echo provider is there to put what an ephemeral resource hands out where a test can see it.
	if bytes.Contains(content, []byte(`"type": "echo"`)) {
		return nil
	}
	// An escaped line end is no part of a word.
	text := bytes.ReplaceAll(content, []byte(`\n`), []byte("\n"))
	for _, w := range word.FindAll(text, -1) {
		if from, secret := c.tokens[string(w)]; secret {
			found = append(found, fmt.Errorf("%s holds a secret that %s has", name, from))
		}
	}
	for _, key := range []string{"BEGIN PRIVATE KEY", "BEGIN EC PRIVATE KEY", "LS0tLS1CRUdJTiBQUklWQVRF", "LS0tLS1CRUdJTiBFQyBQUklWQVRF"} {
		if bytes.Contains(content, []byte(key)) {
			found = append(found, fmt.Errorf("%s holds a private key", name))
		}
	}
	return found
}

// TestCanaries: a secret that was uploaded is found in whatever form it is left.
func TestCanaries(t *testing.T) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	line := "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgZ2VuZXJhdGVkIGZv"
	for name, content := range map[string]string{
		"keys/tls/key.pem": "-----BEGIN PRIVATE KEY-----\n" + line + "\nc2hvcnQ=\n-----END PRIVATE KEY-----\n",
		"registrar/secret": "generated-Secret_0123456789",
		"cert.pem":         "-----BEGIN CERTIFICATE-----\nMIICXTCCAgSgAwIBAgIRAJ0000000000000000000000000000000000000000000\n",
	} {
		err := errors.Join(
			w.WriteHeader(&tar.Header{Name: "arriving", Mode: 0o600, Size: int64(len(content))}), second(w.Write([]byte(content))),
			w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: "arriving"}),
		)
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	c := &canaries{tokens: map[string]string{}}
	c.remember("node", archive.Bytes())
	c.rememberEnvironment("server", []byte(`{"Env": ["PATH=/usr/local/bin:/usr/bin:/usr/local/sbin", "API_SECRET=secret-of-the-Environment_01"]}`))
	for text, want := range map[string]int{
		`{"key": "-----BEGIN X-----\n` + line + `\nc2h"}`:                             1,
		"secret=generated-Secret_0123456789\n":                                        1,
		`"generated-Secret_0123456789"`:                                               1,
		"-----BEGIN PRIVATE KEY-----":                                                 1,
		`"secret-of-the-Environment_01"`:                                              1,
		"/usr/local/bin:/usr/bin:/usr/local/sbin":                                     0,
		"MIICXTCCAgSgAwIBAgIRAJ0000000000000000000000000000000000000000000 generated": 0,
	} {
		if found := c.in("file", []byte(text)); len(found) != want {
			t.Errorf("%s: %v", text, found)
		}
	}
}

func second[T any](_ T, err error) error { return err }
