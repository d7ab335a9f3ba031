package lifecycle

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// folder makes a folder of files by their names.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	return put(t, t.TempDir(), files)
}

func put(t testing.TB, in string, files map[string]string) string {
	t.Helper()
	for name, content := range files {
		at := filepath.Join(in, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return in
}

var golangFiles = map[string]string{
	"go.mod":                            "// what it is\nmodule example.com/asset // our own\n\ngo 1.26\n",
	"go.sum":                            "",
	"main.go":                           "package main\n",
	"price/a.txt":                       "embedded",
	"vendor/example.org/lib/lib.go":     "package lib\n",
	"vendor/example.org/lib/META-INF/x": "not ours",
	"META-INF/statedb/couchdb/indexes/owner.json":              `{"index":{"fields":["owner"]}}`,
	"META-INF/statedb/couchdb/collections/s/indexes/size.json": `{"index":{"fields":["size"]}}`,
	strings.Repeat("deep/", 60) + "x.go":                       "package deep\n",
}

// goldenSourceID pins the bytes of that package. A change of it would make every chaincode of every user
// an upgrade: do not adapt it, find out what changed.
const goldenSourceID = "asset_1:9b5e6d4d586da03a73ef29cfb6e444d0c262645351012631fafb605cdc184ea8"

func TestSourceIsTheSameEverywhere(t *testing.T) {
	stray := map[string]string{
		".git/config": "x", ".DS_Store": "x", ".env": "SECRET=1", "main_test.go": "package main", "price/.main.go.swp": "x",
		"META-INF/.DS_Store": "x", ".idea/a/b.xml": "x",
	}
	for name, change := range map[string]func(in string){
		"as it is":    func(string) {},
		"stray files": func(in string) { put(t, in, stray) },
		"a stray link": func(in string) {
			if err := os.Symlink("/nowhere", filepath.Join(in, ".link")); err != nil {
				t.Fatal(err)
			}
		},
		"empty folders": func(in string) {
			if err := os.MkdirAll(filepath.Join(in, "a", "b"), 0o700); err != nil {
				t.Fatal(err)
			}
		},
		"modes and times": func(in string) {
			for file := range golangFiles {
				if err := os.Chmod(filepath.Join(in, file), 0o777); err != nil {
					t.Fatal(err)
				}
				if err := os.Chtimes(filepath.Join(in, file), time.Now(), time.Unix(1e9, 17)); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			source := Source{Label: "asset_1", Type: TypeGolang, Folder: folder(t, golangFiles)}
			change(source.Folder)
			id, err := source.ID()
			if err != nil || id != goldenSourceID {
				t.Errorf("package ID %s, want %s, %v", id, goldenSourceID, err)
			}
			packed, err := source.Package()
			if err != nil || PackageID("asset_1", packed) != goldenSourceID {
				t.Errorf("the package has another ID, %v", err)
			}
		})
	}
}

func TestSourceContent(t *testing.T) {
	java := map[string]string{
		"pom.xml": "<project/>", "src/main/java/org/acme/build/A.java": "class A {}", "src/main/java/org/acme/A.class": "x",
		"target/a.jar": "x", "lib/out/a.txt": "x", "lib/pom.xml": "<project/>", ".mvn/x": "x",
	}
	node := map[string]string{
		"package.json": "{}", "package-lock.json": "{}", "lib/a.js": "a", "node_modules/a/index.js": "x", "lib/node_modules/b.js": "x", ".npmrc": "token",
	}
	sub := maps.Clone(golangFiles)
	sub["cmd/asset/main.go"] = "package main\n"
	sub["cmd/asset/META-INF/statedb/couchdb/indexes/a.json"] = `{"index":{"fields":["a"]}}`
	delete(sub, strings.Repeat("deep/", 60)+"x.go")
	for name, test := range map[string]struct {
		source   Source
		files    map[string]string
		metadata string
		want     []string
	}{
		"golang below its module": {
			Source{Label: "a", Type: TypeGolang, Main: "cmd/asset"}, sub, `{"type":"golang","path":"example.com/asset/cmd/asset","label":"a"}`,
			[]string{
				"META-INF/statedb/couchdb/indexes/a.json", "src/META-INF/statedb/couchdb/collections/s/indexes/size.json", "src/META-INF/statedb/couchdb/indexes/owner.json",
				"src/cmd/asset/main.go", "src/go.mod", "src/go.sum", "src/main.go", "src/price/a.txt", "src/vendor/example.org/lib/META-INF/x", "src/vendor/example.org/lib/lib.go",
			},
		},
		"node": {Source{Label: "a", Type: TypeNode}, node, `{"type":"node","label":"a"}`, []string{"src/lib/a.js", "src/package-lock.json", "src/package.json"}},
		"java": {Source{Label: "a", Type: TypeJava}, java, `{"type":"java","label":"a"}`, []string{"src/lib/pom.xml", "src/pom.xml", "src/src/main/java/org/acme/build/A.java"}},
	} {
		t.Run(name, func(t *testing.T) {
			test.source.Folder = folder(t, test.files)
			packed, err := test.source.Package()
			if err != nil {
				t.Fatal(err)
			}
			outer := unpackAll(t, packed)
			if got := strings.TrimSpace(string(outer["metadata.json"])); got != test.metadata || len(outer) != 2 {
				t.Errorf("metadata.json %s of %d files", got, len(outer))
			}
			code := unpackAll(t, outer["code.tar.gz"])
			if got := slices.Sorted(maps.Keys(code)); !slices.Equal(got, test.want) {
				t.Errorf("the files are %q", got)
			}
			for name, content := range code {
				if plain, ok := strings.CutPrefix(name, "src/"); ok && string(content) != test.files[plain] {
					t.Errorf("%s holds %q", name, content)
				}
			}
			info, err := ParsePackage(packed)
			if err != nil || info.ID != PackageID("a", packed) || info.Type != test.source.Type || !IsBuilt(info.Type) {
				t.Errorf("it reads as %+v, %v", info, err)
			}
		})
	}
}

func TestSourceRefuses(t *testing.T) {
	with := func(more map[string]string) map[string]string {
		files := maps.Clone(golangFiles)
		maps.Copy(files, more)
		return files
	}
	link := func(target, name string) func(*testing.T, string) {
		return func(t *testing.T, in string) {
			if err := os.Symlink(target, filepath.Join(in, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, test := range map[string]struct {
		source Source
		files  map[string]string
		change func(*testing.T, string)
		reason string
	}{
		"label":              {Source{Label: "a:b"}, golangFiles, nil, "package label"},
		"no module":          {Source{}, map[string]string{"main.go": "package main"}, nil, "there is no go.mod"},
		"nameless module":    {Source{}, with(map[string]string{"go.mod": "go 1.26"}), nil, "names no module"},
		"no package.json":    {Source{Type: TypeNode}, golangFiles, nil, "there is no package.json"},
		"no build file":      {Source{Type: TypeJava}, golangFiles, nil, "there is no pom.xml, build.gradle, build.gradle.kts"},
		"no main package":    {Source{Main: "cmd"}, golangFiles, nil, "cmd"},
		"main without Go":    {Source{Main: "price"}, golangFiles, nil, "no Go file in the folder price"},
		"main outside":       {Source{Main: "../x"}, golangFiles, nil, "../x"},
		"link to a file":     {Source{}, golangFiles, link("main.go", "other.go"), "other.go is a symbolic link"},
		"link to a folder":   {Source{}, golangFiles, link("price", "cost"), "cost is a symbolic link"},
		"link outside":       {Source{}, golangFiles, link("/etc/passwd", "passwd"), "passwd is a symbolic link"},
		"module by a link":   {Source{}, map[string]string{"main.go": "package main"}, link("/etc/hostname", "go.mod"), "go.mod"},
		"metadata of others": {Source{}, with(map[string]string{"META-INF/services/x": "y"}), nil, "services/x is not allowed"},
		"no index":           {Source{}, with(map[string]string{"META-INF/statedb/couchdb/indexes/x.json": "[]"}), nil, "x.json is no index"},
		"an index too large": {Source{}, with(map[string]string{"META-INF/statedb/couchdb/indexes/x.json": strings.Repeat(" ", maxDocument+1)}), nil, "more than"},
		"far too large": {Source{}, golangFiles, func(t *testing.T, in string) {
			put(t, in, map[string]string{"huge.bin": ""})
			if err := os.Truncate(filepath.Join(in, "huge.bin"), 1<<40); err != nil {
				t.Fatal(err)
			}
		}, "huge.bin"},
		"just too large": {Source{}, golangFiles, func(t *testing.T, in string) {
			put(t, in, map[string]string{"large.bin": ""})
			if err := os.Truncate(filepath.Join(in, "large.bin"), MaxPackageSize-2<<10); err != nil {
				t.Fatal(err)
			}
		}, "a peer takes at most"},
	} {
		t.Run(name, func(t *testing.T) {
			s := test.source
			if s.Type == "" {
				s.Type = TypeGolang
			}
			if s.Label == "" {
				s.Label = "a"
			}
			s.Folder = folder(t, test.files)
			if test.change != nil {
				test.change(t, s.Folder)
			}
			if id, err := s.ID(); err == nil || !strings.Contains(err.Error(), test.reason) {
				t.Errorf("%q, %v", id, err)
			}
		})
	}
	if _, err := (Source{Label: "a", Type: TypeGolang, Folder: filepath.Join(t.TempDir(), "none")}).ID(); err == nil {
		t.Error("a folder that is not there has an ID")
	}
}

func TestSourceThatChangesIsRefused(t *testing.T) {
	source := Source{Label: "a", Type: TypeGolang, Folder: folder(t, golangFiles)}
	for _, content := range []string{"", "package main // and much more than before"} {
		put(t, source.Folder, golangFiles)
		err := source.pack(func(entries []archived) error {
			put(t, source.Folder, map[string]string{"main.go": content})
			return writeArchive(new(counter), entries)
		})
		if err == nil || !strings.Contains(err.Error(), "main.go changed while it was read") {
			t.Errorf("%v", err)
		}
	}
}

// TestFlippedBits damages packages: one that is read all the same has another package ID, and the same
// files, because the bit is one that no format looks at.
func TestFlippedBits(t *testing.T) {
	small := map[string]string{"go.mod": golangFiles["go.mod"], "main.go": golangFiles["main.go"]}
	whole, err := Source{Label: "asset_1", Type: TypeGolang, Folder: folder(t, small)}.Package()
	if err != nil {
		t.Fatal(err)
	}
	want, id := unpackAll(t, whole), PackageID("asset_1", whole)
	for at := range whole {
		packed := bytes.Clone(whole)
		packed[at] ^= 1 << (at % 8)
		info, err := ParsePackage(packed)
		if err == nil && (info.ID == id || !maps.EqualFunc(unpackAll(t, packed), want, bytes.Equal)) {
			t.Errorf("with a flipped bit in byte %d it reads as %+v", at, info)
		}
	}
}

// megabytes makes a folder of megabytes of source, in files of some size.
func megabytes(t testing.TB, count int) Source {
	files := maps.Clone(golangFiles)
	content := strings.Repeat("package lib // as much of it as source has\n", 64<<10/43)
	for i := range count * 16 {
		files[fmt.Sprintf("vendor/example.org/lib%d/f%d.go", i%100, i)] = content
	}
	return Source{Label: "large_1", Type: TypeGolang, Folder: folder(t, files)}
}

func TestSourceIsNotKeptInMemory(t *testing.T) {
	source := megabytes(t, 32)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := source.ID(); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 8<<20 {
		t.Errorf("the ID of 32 MB of source took %d KB", used>>10)
	}
}

// BenchmarkSource is the plan's part of 50 MB of source, and the apply's.
func BenchmarkSource(b *testing.B) {
	source := megabytes(b, 50)
	for name, run := range map[string]func() error{
		"ID":      func() error { _, err := source.ID(); return err },
		"Package": func() error { _, err := source.Package(); return err },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(50 << 20)
			b.ReportAllocs()
			for b.Loop() {
				if err := run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
