package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
)

func TestMain(m *testing.M) {
	WorkFactor = 4 // a second for each archive would be a long time
	os.Exit(m.Run())
}

const passphrase = "correct horse battery staple"

var header = Header{Network: "dev", Domain: "example.com", Owner: "0123456789abcdef", Taken: time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC)}

// packed gives a tar of files; a name that ends with a slash is a folder.
func packed(t *testing.T, files map[string]string) io.Reader {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		h := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o600, Uid: 1000, Gid: 1000, Size: int64(len(files[name]))}
		if strings.HasSuffix(name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o700
		}
		if err := errors.Join(w.WriteHeader(h), written(w, files[name])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &out
}

func written(w io.Writer, content string) error {
	_, err := io.WriteString(w, content)
	return err
}

// write makes an archive of two orderers, the second of which has the ledger of the first, and a peer.
func write(t *testing.T, path string) Summary {
	t.Helper()
	w, err := Create(path, passphrase, header)
	if err != nil {
		t.Fatal(err)
	}
	w.Volume(Volume{Name: "dev-peer0", Labels: map[string]string{"kind": "peer"}})
	w.Volume(Volume{Name: "dev-orderer1", LedgerOf: "dev-orderer0", LedgerFolder: "node/data"})
	w.Volume(Volume{Name: "dev-orderer0"})
	for _, part := range []struct {
		volume string
		files  map[string]string
	}{
		{"dev-peer0", map[string]string{"node/": "", "node/data/block": strings.Repeat("block", 1<<18), "node/keys/key.pem": "key"}},
		{"dev-orderer1", map[string]string{"node/keys/key.pem": "key of orderer1"}},
		{"dev-orderer0", map[string]string{"node/keys/key.pem": "key of orderer0", "node/data/left-out": "x"}},
		{"dev-orderer0", map[string]string{"node/data/": "", "node/data/block": "ordered"}},
	} {
		skip := func(name string) bool { return name == "node/data/left-out" }
		if err := w.Fill(part.volume, "", packed(t, part.files), skip); err != nil {
			t.Fatal(err)
		}
	}
	summary, err := w.Close([]Node{{Name: "dev-peer0", Image: "hyperledger/fabric-peer:3.1.1"}}, map[string]uint64{"trade": 7})
	if err != nil {
		t.Fatal(err)
	}
	return summary
}

func TestArchiveGivesBackWhatItWasFilledWith(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dev.backup")
	summary := write(t, path)
	if info, err := os.Stat(path); err != nil || info.Size() != summary.Size || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v; the summary says %d bytes", info, err, summary.Size)
	}
	if have, err := Peek(path, passphrase); err != nil || have.Owner != header.Owner || !have.Taken.Equal(header.Taken) {
		t.Errorf("Peek gave %+v, %v", have, err)
	}
	manifest, digest, err := Verify(path, passphrase)
	if err != nil || digest != summary.ManifestSHA256 || manifest.Heights["trade"] != 7 || len(manifest.Nodes) != 1 {
		t.Fatalf("Verify gave %+v, %s, %v", manifest, digest, err)
	}
	var mu sync.Mutex
	got := map[string]string{}
	err = manifest.Extract(path, passphrase, func(volume string, content io.Reader) error {
		for r := tar.NewReader(content); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				_, err := io.Copy(io.Discard, content)
				return err
			}
			if err != nil {
				return err
			}
			raw, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			if h.Uid != 1000 {
				t.Errorf("%s belongs to %d", h.Name, h.Uid)
			}
			mu.Lock()
			got[volume+" "+h.Name] = string(raw)
			mu.Unlock()
		}
	})
	want := map[string]string{
		"dev-peer0 node/": "", "dev-peer0 node/data/block": strings.Repeat("block", 1<<18), "dev-peer0 node/keys/key.pem": "key",
		"dev-orderer0 node/keys/key.pem": "key of orderer0", "dev-orderer1 node/keys/key.pem": "key of orderer1",
		"dev-orderer0 node/data/": "", "dev-orderer1 node/data/": "", "dev-orderer0 node/data/block": "ordered", "dev-orderer1 node/data/block": "ordered",
	}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("extracted %v, want %v: %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)), err)
	}
}

func TestArchiveIsThereAsAWholeOrNotAtAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dev.backup")
	write(t, path)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := Create(path, passphrase, header)
	if err != nil {
		t.Fatal(err)
	}
	w.Volume(Volume{Name: "v"})
	cause := errors.New("the engine is gone")
	if err := w.Fill("v", "", io.MultiReader(io.LimitReader(packed(t, map[string]string{"f": "content"}), 515), failing{cause}), nil); !errors.Is(err, cause) {
		t.Errorf("half a volume gave %v", err)
	}
	if err := w.Abort(); err != nil {
		t.Error(err)
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, before) {
		t.Errorf("the archive of before is not there any more: %v", err)
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestArchiveRefusesWhatNoVolumeMayHold(t *testing.T) {
	w, err := Create(filepath.Join(t.TempDir(), "a"), passphrase, header)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Abort() }()
	w.Volume(Volume{Name: "v"})
	for _, h := range []tar.Header{
		{Name: "../outside", Typeflag: tar.TypeReg}, {Name: "/etc/passwd", Typeflag: tar.TypeReg}, {Name: "link", Linkname: "/etc", Typeflag: tar.TypeSymlink},
	} {
		var out bytes.Buffer
		tw := tar.NewWriter(&out)
		if err := errors.Join(tw.WriteHeader(&h), tw.Close()); err != nil {
			t.Fatal(err)
		}
		if err := w.Fill("v", "", &out, nil); err == nil {
			t.Errorf("%s was taken", h.Name)
		}
	}
	if err := w.Fill("other", "", packed(t, nil), nil); err == nil {
		t.Error("a volume that was not announced was taken")
	}
}

func TestDamagedArchivesAreFound(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "dev.backup")
	write(t, path)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := Verify(path, "another passphrase"); !errors.Is(err, ErrPassphrase) {
		t.Errorf("another passphrase gave %v", err)
	}
	for name, change := range map[string]func([]byte) []byte{
		"flipped": func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"cut":     func(b []byte) []byte { return b[:len(b)-1] },
		"longer":  func(b []byte) []byte { return append(b, 0) },
		"halved":  func(b []byte) []byte { return b[:len(b)/2] },
	} {
		damaged := filepath.Join(folder, name)
		if err := os.WriteFile(damaged, change(bytes.Clone(whole)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Verify(damaged, passphrase); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, content := range map[string][]byte{"empty": nil, "text": []byte("not an archive\n"), "other": sealed(t)} {
		other := filepath.Join(folder, name)
		if err := os.WriteFile(other, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Peek(other, passphrase); !errors.Is(err, ErrNoArchive) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// sealed is something else that was encrypted with the passphrase.
func sealed(t *testing.T) []byte {
	t.Helper()
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		t.Fatal(err)
	}
	recipient.SetWorkFactor(WorkFactor)
	var out bytes.Buffer
	w, err := age.Encrypt(&out, recipient)
	if err = errors.Join(err, written(w, "something else"), w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// A manifest that does not go with the files beside it is found, whoever wrote it.
func TestManifestMustSayWhatThereIs(t *testing.T) {
	file := File{Name: "f", SHA256: "ab"}
	m := Manifest{Volumes: []*Volume{{Name: "v", Files: []File{file}}}}
	for name, found := range map[string]map[string]File{
		"missing": {}, "more": {"v/f": file, "v/g": {Name: "g"}}, "other": {"v/f": {Name: "f", SHA256: "cd"}},
	} {
		if err := m.compare(found); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := m.compare(map[string]File{"v/f": file}); err != nil {
		t.Error(err)
	}
}
