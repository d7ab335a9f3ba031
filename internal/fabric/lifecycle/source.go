package lifecycle

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Types of chaincode that peers build from source.
const (
	TypeGolang = "golang"
	TypeNode   = "node"
	TypeJava   = "java"
)

// SourceTypes are the types of chaincode that peers build from source.
var SourceTypes = []string{TypeGolang, TypeNode, TypeJava}

const (
	sourceFolder = "src/"
	moduleFile   = "go.mod"
)

// buildFiles are the files of which one tells that a folder holds the source of a type.
var buildFiles = map[string][]string{
	TypeGolang: {moduleFile}, TypeNode: {"package.json"}, TypeJava: {"pom.xml", "build.gradle", "build.gradle.kts"},
}

// Source is a folder with the source of a chaincode that peers build. Its package is the same on every
// machine that has the same files: what a version control, an editor or a build leaves behind is not in
// it, nor are times, owners and modes.
//
// Source: core/chaincode/platforms in Fabric, whose own packages differ by machine and compressor.
type Source struct {
	// Label is the package label.
	Label string
	// Type is golang, node or java.
	Type string
	// Folder holds go.mod, package.json, or the build file of Maven or Gradle.
	Folder string
	// Main is the folder of the main package below Folder, for golang; empty when that is Folder itself.
	Main string
}

// ID gives the package ID. It reads the files one after the other, and keeps none of them.
func (s Source) ID() (string, error) {
	hash := sha256.New()
	err := s.pack(func(entries []archived) error { return writeArchive(hash, entries) })
	if err != nil {
		return "", err
	}
	return packageID(s.Label, hash), nil
}

// Package makes the package.
func (s Source) Package() ([]byte, error) {
	var packed bytes.Buffer
	err := s.pack(func(entries []archived) error {
		size := packageFrame
		for _, e := range entries {
			size += int(e.size)
		}
		packed.Grow(size)
		return writeArchive(&packed, entries)
	})
	return packed.Bytes(), err
}

// pack has the files of the package written.
func (s Source) pack(write func([]archived) error) error {
	err := func() error {
		if err := ValidateLabel(s.Label); err != nil {
			return err
		}
		root, err := os.OpenRoot(s.Folder)
		if err != nil {
			return err
		}
		defer root.Close()
		metadata := metadataDocument{Type: s.Type, Label: s.Label}
		if metadata.Path, err = s.importPath(root); err != nil {
			return err
		}
		code, err := s.files(root)
		if err != nil {
			return err
		}
		entries, err := packageOf(metadata, code)
		if err != nil {
			return err
		}
		return write(entries)
	}()
	if err != nil {
		return fmt.Errorf("unable to package the %s chaincode in %s: %w", s.Type, s.Folder, err)
	}
	return nil
}

// importPath is what the builder of golang builds. The others build what is there.
func (s Source) importPath(root *os.Root) (string, error) {
	files := buildFiles[s.Type]
	at := slices.IndexFunc(files, func(name string) bool {
		info, err := root.Stat(name)
		return err == nil && info.Mode().IsRegular()
	})
	if at < 0 {
		return "", fmt.Errorf("there is no %s in it", strings.Join(files, ", "))
	}
	if s.Type != TypeGolang {
		return "", nil
	}
	text, err := root.ReadFile(moduleFile)
	if err != nil {
		return "", err
	}
	module := modulePath(string(text))
	if module == "" {
		return "", fmt.Errorf("%s names no module", moduleFile)
	}
	in := path.Clean(s.Main)
	folder, err := fs.ReadDir(root.FS(), in)
	if err != nil {
		return "", fmt.Errorf("the main package: %w", err)
	}
	if !slices.ContainsFunc(folder, func(d fs.DirEntry) bool {
		return path.Ext(d.Name()) == ".go" && !s.leavesOut(path.Join(in, d.Name()), d)
	}) {
		return "", fmt.Errorf("there is no Go file in the folder %s of the main package", in)
	}
	return path.Join(module, in), nil
}

// modulePath reads the path of a module from its go.mod; empty when it has none.
func modulePath(text string) string {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "//")
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == "module" {
			if plain, err := strconv.Unquote(fields[1]); err == nil {
				return plain
			}
			return fields[1]
		}
	}
	return ""
}

// files lists what goes into code.tar.gz: the indexes below META-INF, which lies beside the main package,
// and everything else below src.
func (s Source) files(root *os.Root) ([]archived, error) {
	var files []archived
	size := int64(0)
	metadata, buffer := path.Join(s.Main, metaInf)+"/", make([]byte, 64<<10)
	err := fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == ".":
			return nil
		case s.leavesOut(name, d):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir():
			return nil
		case d.Type()&fs.ModeSymlink != 0:
			return fmt.Errorf("%s is a symbolic link, and what it leads to may differ by machine: put the file there", name)
		case !d.Type().IsRegular():
			return fmt.Errorf("%s is neither a regular file nor a folder", name)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		file := fileOf(root, name, info.Size(), buffer)
		if index, ok := strings.CutPrefix(name, metadata); ok {
			if info.Size() > maxDocument {
				return fmt.Errorf("%s has more than %d bytes", name, maxDocument)
			}
			content, err := root.ReadFile(name)
			if err != nil {
				return err
			}
			if err := validateMetadata(index, content); err != nil {
				return err
			}
			file.name = path.Join(metaInf, index)
		}
		// Nothing more is read of what is far too large, a wrong folder for example.
		if size += info.Size(); size > MaxPackageSize {
			return fmt.Errorf("its files have more than %d bytes, which is the most that a peer takes; the one that is too much is %s", MaxPackageSize, name)
		}
		if files = append(files, file); len(files) > packageLimits.entries {
			return fmt.Errorf("it has more than %d files", packageLimits.entries)
		}
		return nil
	})
	return files, err
}

// leavesOut tells what of a folder is no source: hidden files, which version controls, editors and secrets
// are in; tests of Go, which no build reads; dependencies of node, which npm brings; and what builds of Java
// wrote, but not packages of that name.
func (s Source) leavesOut(name string, d fs.DirEntry) bool {
	base := path.Base(name)
	switch {
	case strings.HasPrefix(base, "."):
		return true
	case s.Type == TypeGolang:
		return strings.HasSuffix(base, "_test.go")
	case s.Type == TypeNode:
		return base == "node_modules"
	case s.Type == TypeJava:
		built := !d.Type().IsRegular() && slices.Contains([]string{"target", "build", "out"}, base) && !strings.Contains("/"+name, "/"+sourceFolder)
		return built || path.Ext(base) == ".class"
	}
	return false
}

// fileOf is a file of the folder, which must not change until it is written, through the buffer.
func fileOf(root *os.Root, name string, size int64, buffer []byte) archived {
	return archived{sourceFolder + name, size, func(w io.Writer) error {
		file, err := root.Open(name)
		if err != nil {
			return err
		}
		defer file.Close()
		n, err := io.CopyBuffer(w, struct{ io.Reader }{file}, buffer) // the file's own WriteTo would take another one
		if errors.Is(err, tar.ErrWriteTooLong) || err == nil && n != size {
			return fmt.Errorf("%s changed while it was read", name)
		}
		return err
	}}
}
