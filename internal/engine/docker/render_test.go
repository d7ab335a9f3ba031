package docker

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

func nodeSpec(change func(*engine.NodeSpec)) engine.NodeSpec {
	spec := engine.NodeSpec{
		Name: "n", Hostname: "peer0.org1.example.com", Image: "i", Network: "net", Aliases: []string{"peer0", "peer0.org1.example.com"},
		User: "1000:1001", Labels: map[string]string{"a": "b"},
	}
	if change != nil {
		change(&spec)
	}
	return spec
}

func TestRender(t *testing.T) {
	got, err := render(nodeSpec(func(s *engine.NodeSpec) {
		s.Mounts = []engine.Mount{{Volume: "v", Target: "/data/"}, {Volume: "w", Target: "/keys", ReadOnly: true}}
		s.Tmpfs = []string{"/tmp"}
		s.Env = map[string]string{"B": "2", "A": "1=1"}
		s.Ports = []engine.Port{{Container: 7051, Host: 17051, Address: "127.0.0.1"}, {Container: 7051, Host: 17051, Address: "::1"}}
	}), []string{"/data", "/tmp/", "/cache", "/keys/"})
	if err != nil {
		t.Fatal(err)
	}
	h := got.HostConfig
	wantMounts := []mount.Mount{
		{Type: mount.TypeVolume, Source: "v", Target: "/data", VolumeOptions: &mount.VolumeOptions{NoCopy: true}},
		{Type: mount.TypeVolume, Source: "w", Target: "/keys", ReadOnly: true, VolumeOptions: &mount.VolumeOptions{NoCopy: true}},
	}
	if !reflect.DeepEqual(h.Mounts, wantMounts) {
		t.Errorf("mounts %+v", h.Mounts)
	}
	if len(h.Tmpfs) != 2 || h.Tmpfs["/tmp"] != "rw,noexec,nosuid,nodev,size=256m,uid=1000,gid=1001,mode=0700" ||
		h.Tmpfs["/cache"] != "rw,noexec,nosuid,nodev,size=16m,uid=1000,gid=1001,mode=0700" {
		t.Errorf("tmpfs %v", h.Tmpfs)
	}
	if !slices.Equal(got.Config.Env, []string{"A=1=1", "B=2"}) {
		t.Errorf("environment %v", got.Config.Env)
	}
	port := network.MustParsePort("7051/tcp")
	if want := []network.PortBinding{
		{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: "17051"}, {HostIP: netip.MustParseAddr("::1"), HostPort: "17051"},
	}; !slices.Equal(h.PortBindings[port], want) || len(h.PortBindings) != 1 || len(got.Config.ExposedPorts) != 1 {
		t.Errorf("ports %v", h.PortBindings)
	}
	if aliases := got.NetworkingConfig.EndpointsConfig["net"].Aliases; !slices.Equal(aliases, []string{"peer0.org1.example.com", "peer0"}) || h.NetworkMode != "net" {
		t.Errorf("aliases %v in %s", aliases, h.NetworkMode)
	}
	if h.RestartPolicy.Name != container.RestartPolicyDisabled || h.Memory != 0 || h.PidsLimit != nil || h.NanoCPUs != 0 {
		t.Errorf("restart %v, limits %+v", h.RestartPolicy, h.Resources)
	}
}

func TestRenderWithoutNetworkAndWithLongName(t *testing.T) {
	long := strings.Repeat("peer", 10) + "." + strings.Repeat("example", 5) + ".com"
	got, err := render(nodeSpec(func(s *engine.NodeSpec) { s.Network, s.Hostname = "", long }), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.HostConfig.NetworkMode != "none" || got.NetworkingConfig != nil {
		t.Errorf("network %s", got.HostConfig.NetworkMode)
	}
	if got.Config.Hostname+"."+got.Config.Domainname != long || len(got.Config.Hostname) > maxHostname {
		t.Errorf("host name %q, domain %q", got.Config.Hostname, got.Config.Domainname)
	}
	got, err = render(nodeSpec(func(s *engine.NodeSpec) { s.Hostname = long }), nil)
	if err != nil || !slices.Contains(got.NetworkingConfig.EndpointsConfig["net"].Aliases, long) {
		t.Errorf("the whole name is no alias: %+v, %v", got.NetworkingConfig, err)
	}
}

func TestRenderRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		change   func(*engine.NodeSpec)
		declared []string
		want     string
	}{
		"no user":         {func(s *engine.NodeSpec) { s.User = "" }, nil, "uid:gid"},
		"user by name":    {func(s *engine.NodeSpec) { s.User = "peer:peer" }, nil, "uid:gid"},
		"user alone":      {func(s *engine.NodeSpec) { s.User = "1000" }, nil, "uid:gid"},
		"negative user":   {func(s *engine.NodeSpec) { s.User = "-1:1" }, nil, "uid:gid"},
		"root mounted on": {func(s *engine.NodeSpec) { s.Tmpfs = []string{"/"} }, nil, "no folder"},
		"relative mount":  {func(s *engine.NodeSpec) { s.Mounts = []engine.Mount{{Volume: "v", Target: "data"}} }, nil, "no folder"},
		"nameless volume": {func(s *engine.NodeSpec) { s.Mounts = []engine.Mount{{Target: "/data"}} }, nil, "names no volume"},
		"two on one": {func(s *engine.NodeSpec) {
			s.Mounts = []engine.Mount{{Volume: "v", Target: "/a"}}
			s.Tmpfs = []string{"/a/"}
		}, nil, "twice"},
		"hidden ledger":    {func(s *engine.NodeSpec) { s.Mounts = []engine.Mount{{Volume: "v", Target: "/a"}} }, []string{"/a/ledger"}, "would hide"},
		"every address":    {func(s *engine.NodeSpec) { s.Ports = []engine.Port{{Container: 1, Host: 1}} }, nil, "no IP address"},
		"address by name":  {func(s *engine.NodeSpec) { s.Ports = []engine.Port{{Container: 1, Host: 1, Address: "localhost"}} }, nil, "no IP address"},
		"no host port":     {func(s *engine.NodeSpec) { s.Ports = []engine.Port{{Container: 1, Address: "127.0.0.1"}} }, nil, "between 1 and 65535"},
		"port too high":    {func(s *engine.NodeSpec) { s.Ports = []engine.Port{{Container: 65536, Host: 1, Address: "127.0.0.1"}} }, nil, "between 1 and 65535"},
		"nameless setting": {func(s *engine.NodeSpec) { s.Env = map[string]string{"": "x"} }, nil, "environment variable"},
	} {
		if _, err := render(nodeSpec(test.change), test.declared); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s gave %v, want %q", name, err, test.want)
		}
	}
}

func TestReferences(t *testing.T) {
	for ref, want := range map[string][2]string{
		"busybox":                                  {"busybox:latest", "docker.io"},
		"hyperledger/fabric-peer:3.1.1":            {"hyperledger/fabric-peer:3.1.1", "docker.io"},
		"docker.io/library/busybox:1":              {"busybox:1", "docker.io"},
		"ghcr.io/x/y":                              {"ghcr.io/x/y:latest", "ghcr.io"},
		"localhost:5000/x@sha256:" + hex64:         {"localhost:5000/x@sha256:" + hex64, "localhost:5000"},
		"registry.example.com/x:1@sha256:" + hex64: {"registry.example.com/x@sha256:" + hex64, "registry.example.com"},
		"sha256:" + hex64:                          {"sha256:" + hex64, ""},
	} {
		got, err := parseReference(ref)
		host := ""
		if err == nil && got.named != nil {
			host = registryHost(strings.Split(got.named.Name(), "/")[0])
		}
		if err != nil || got.local != want[0] || host != want[1] {
			t.Errorf("%s is %q at %q, %v", ref, got.local, host, err)
		}
	}
	for _, ref := range []string{"", "docker.io/UPPER", "x y", "sha256:abc", "sha256:" + strings.ToUpper(hex64), hex64, "x@sha256:short"} {
		if got, err := parseReference(ref); err == nil {
			t.Errorf("%q was taken for %+v", ref, got)
		}
	}
	for host, want := range map[string]string{
		"": "docker.io", "docker.io": "docker.io", "index.docker.io": "docker.io", "https://index.docker.io/v1/": "docker.io",
		"registry-1.docker.io": "docker.io", "https://ghcr.io": "ghcr.io", "localhost:5000/mirror": "localhost:5000",
	} {
		if got := registryHost(host); got != want {
			t.Errorf("registry %q is %q", host, got)
		}
	}
}

func TestPackIsTheSameEachTime(t *testing.T) {
	now := time.Unix(1e9, 0)
	files := []engine.File{
		{Name: "z", Content: []byte("1"), UID: 5, GID: 6}, {Name: "a/b/c", Content: []byte("22"), Mode: 0o644, UID: 7, GID: 8}, {Name: "a/d", UID: 9},
	}
	one, err := pack("home", files, now)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(files)
	slices.Reverse(files[1:])
	if two, err := pack("home", files, now); err != nil || len(two) != len(one) {
		t.Errorf("another order of files packs to %d bytes, %v", len(two), err)
	}
	type entry struct {
		name           string
		mode           int64
		uid, gid, size int
	}
	want := []entry{
		{"home/", 0o700, 0, 0, 0}, {"home/a/", 0o700, 0, 0, 0}, {"home/a/b/", 0o700, 7, 8, 0},
		{"home/.incoming", 0o644, 7, 8, 2}, {"home/a/b/c", 0o644, 7, 8, 0}, {"home/.incoming", 0o600, 9, 0, 0}, {"home/a/d", 0o600, 9, 0, 0},
		{"home/.incoming", 0o600, 5, 6, 1}, {"home/z", 0o600, 5, 6, 0}, {"home/.incoming", 0o600, 0, 0, 0},
	}
	var got []entry
	arrived := now
	r := tar.NewReader(bytes.NewReader(one))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, entry{h.Name, h.Mode, h.Uid, h.Gid, int(h.Size)})
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		stamp := now
		switch {
		case h.Typeflag == tar.TypeLink:
			stamp = arrived
			if h.Linkname != "home/.incoming" {
				t.Errorf("%s is linked to %s", h.Name, h.Linkname)
			}
		case h.Typeflag == tar.TypeReg && len(got) < len(want):
			stamp = mark(sha256.Sum256(content))
			arrived = stamp
		}
		if !h.ModTime.Equal(stamp) {
			t.Errorf("%s is stamped %s, want %s", h.Name, h.ModTime, stamp)
		}
	}
	want[0].uid, want[0].gid = 5, 6 // the first file given owns the folders that it shares
	want[1].uid, want[1].gid = 7, 8
	if !slices.Equal(got, want) {
		t.Errorf("it holds %v, want %v", got, want)
	}
}

// TestPackThatBreaksOff: wherever an upload breaks off, each file is as it was or as it is to be, since the engine
// writes what arrives as it comes.
func TestPackThatBreaksOff(t *testing.T) {
	version := func(of string) []engine.File {
		return []engine.File{{Name: "key", Content: []byte(strings.Repeat(of, 700))}, {Name: "record", Content: []byte(strings.Repeat(of, 2000))}}
	}
	extract := func(folder string, archive []byte) {
		for r := tar.NewReader(bytes.NewReader(archive)); ; {
			h, err := r.Next()
			if err != nil {
				return
			}
			at := filepath.Join(folder, h.Name)
			if h.Typeflag != tar.TypeDir {
				err = os.RemoveAll(at)
			}
			switch h.Typeflag {
			case tar.TypeDir:
				err = errors.Join(err, os.MkdirAll(at, 0o700))
			case tar.TypeLink:
				err = errors.Join(err, os.Link(filepath.Join(folder, h.Linkname), at))
			default:
				content, cut := io.ReadAll(r)
				err = errors.Join(err, os.WriteFile(at, content, 0o600))
				if cut != nil {
					return
				}
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	before, err := pack("store", version("0"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	after, err := pack("store", version("1"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for cut := 0; cut <= len(after); cut += 256 {
		folder := t.TempDir()
		extract(folder, before)
		extract(folder, after[:cut])
		for i, f := range version("1") {
			content, err := os.ReadFile(filepath.Join(folder, "store", f.Name))
			if err != nil || !bytes.Equal(content, f.Content) && !bytes.Equal(content, version("0")[i].Content) {
				t.Errorf("after %d of %d bytes %s is neither old nor new: %d bytes, %v", cut, len(after), f.Name, len(content), err)
			}
		}
		if left, err := os.ReadFile(filepath.Join(folder, "store", ".incoming")); cut == len(after) && (err != nil || len(left) > 0) {
			t.Errorf("%d bytes are left of what arrived: %v", len(left), err)
		}
	}
}

func TestPackRefuses(t *testing.T) {
	for name, files := range map[string][]engine.File{
		"twice":            {{Name: "a"}, {Name: "a"}},
		"file and folder":  {{Name: "a"}, {Name: "a/b"}},
		"folder and file":  {{Name: "a/b"}, {Name: "a"}},
		"beyond":           {{Name: "../a"}},
		"absolute":         {{Name: "/a"}},
		"set-user-id bits": {{Name: "a", Mode: 0o4755}},
	} {
		if _, err := pack("home", files, time.Now()); err == nil {
			t.Errorf("%s was packed", name)
		}
	}
}

func archive(t testing.TB, headers ...*tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range headers {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(bytes.Repeat([]byte("x"), int(h.Size))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestUnpack(t *testing.T) {
	files, err := unpack(bytes.NewReader(archive(t,
		&tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o755},
		&tar.Header{Name: "d/z", Typeflag: tar.TypeReg, Mode: 0o640, Size: 3, Uid: 1, Gid: 2},
		&tar.Header{Name: "d/link", Typeflag: tar.TypeLink, Linkname: "d/z", Mode: 0o640, Uid: 1, Gid: 2},
		&tar.Header{Name: "d/soft", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
		&tar.Header{Name: "d/pipe", Typeflag: tar.TypeFifo},
	)), 10)
	if err != nil || len(files) != 2 || files[0].Name != "d/link" || string(files[0].Content) != "xxx" || files[1].Name != "d/z" || files[1].Mode != 0o640 || files[1].UID != 1 || files[1].GID != 2 {
		t.Errorf("it gave %+v, %v", files, err)
	}
	for name, test := range map[string]struct {
		raw  []byte
		want string
	}{
		"too much":          {archive(t, &tar.Header{Name: "a", Size: 6}, &tar.Header{Name: "b", Size: 5}), "more than"},
		"too much by links": {archive(t, &tar.Header{Name: "a", Size: 6}, &tar.Header{Name: "b", Typeflag: tar.TypeLink, Linkname: "a"}), "more than"},
		"link to nowhere":   {archive(t, &tar.Header{Name: "b", Typeflag: tar.TypeLink, Linkname: "a"}), "not below it"},
		"no tar":            {bytes.Repeat([]byte("no tar "), 100), "invalid tar header"},
		"cut off":           {archive(t, &tar.Header{Name: "a", Size: 10})[:515], "unexpected EOF"},
	} {
		if _, err := unpack(bytes.NewReader(test.raw), 10); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s gave %v, want %q", name, err, test.want)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(archive(f, &tar.Header{Name: "d/z", Size: 3}, &tar.Header{Name: "l", Typeflag: tar.TypeLink, Linkname: "d/z"}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		const limit = 1 << 16
		files, err := unpack(bytes.NewReader(raw), limit)
		total := 0
		for _, file := range files {
			total += len(file.Content)
		}
		if err == nil && total > limit {
			t.Errorf("%d bytes came through", total)
		}
	})
}

func TestLines(t *testing.T) {
	tail := &tail{most: 3}
	out, errs := &lineWriter{to: tail}, &lineWriter{to: tail}
	for _, w := range []struct {
		to   *lineWriter
		text string
	}{{out, "one\ntw"}, {errs, "oops\r\n"}, {out, "o\n\n"}, {errs, strings.Repeat("x", 2*longestLine)}, {errs, "y\n"}, {out, "end"}} {
		if n, err := w.to.Write([]byte(w.text)); n != len(w.text) || err != nil {
			t.Fatalf("Write gave %d, %v", n, err)
		}
	}
	out.flush()
	errs.flush()
	if want := []string{"", strings.Repeat("x", longestLine), "end"}; !slices.Equal(tail.lines, want) {
		t.Errorf("the last lines are %.100q", tail.lines)
	}
}

func TestEndpoints(t *testing.T) {
	c := func(address string) container.InspectResponse {
		binding := network.PortBinding{HostPort: "17051"}
		if address != "" {
			binding.HostIP = netip.MustParseAddr(address)
		}
		return container.InspectResponse{
			State:      &container.State{Status: container.StateRunning},
			HostConfig: &container.HostConfig{PortBindings: network.PortMap{network.MustParsePort("7051/tcp"): {binding}}},
			NetworkSettings: &container.NetworkSettings{Networks: map[string]*network.EndpointSettings{
				"net": {IPAddress: netip.MustParseAddr("172.18.0.2")},
			}},
		}
	}
	local := address{scheme: "unix", local: true}
	remote := address{scheme: "tcp", host: "192.0.2.1"}
	loop := address{scheme: "tcp", host: "127.0.0.1", local: true}
	for _, test := range []struct {
		engine  address
		address string
		port    int
		want    string
	}{
		{local, "127.0.0.1", 7051, "127.0.0.1:17051"}, {local, "0.0.0.0", 7051, "127.0.0.1:17051"}, {local, "", 7051, "127.0.0.1:17051"},
		{local, "192.0.2.7", 7051, "192.0.2.7:17051"}, {local, "127.0.0.1", 9443, "172.18.0.2:9443"},
		{remote, "0.0.0.0", 7051, "192.0.2.1:17051"}, {remote, "192.0.2.7", 7051, "192.0.2.7:17051"},
		{remote, "127.0.0.1", 7051, ""}, {remote, "0.0.0.0", 9443, ""},
		{loop, "127.0.0.1", 7051, "127.0.0.1:17051"}, {loop, "::", 7051, "127.0.0.1:17051"},
	} {
		got, _, err := (&Engine{address: test.engine}).endpoint(c(test.address), test.port)
		if got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("port %d on %q of %+v is at %q, %v; want %q", test.port, test.address, test.engine, got, err, test.want)
		}
	}
}

func TestOverlap(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"127.0.0.1", "127.0.0.1", true}, {"0.0.0.0", "127.0.0.1", true}, {"127.0.0.1", "::", true}, {"", "192.0.2.1", true},
		{"127.0.0.1", "192.0.2.1", false}, {"127.0.0.1", "127.0.0.2", false},
	} {
		if got := overlap(test.a, test.b); got != test.want {
			t.Errorf("%s and %s overlap: %t", test.a, test.b, got)
		}
	}
}
