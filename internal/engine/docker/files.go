package docker

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

const (
	// maxFiles bounds what GetFiles takes into memory.
	maxFiles = 64 << 20
	// folderMode is the mode of folders that are made for files: they may hold keys.
	folderMode = 0o700
	// incoming is a file in the first folder of a volume in which a file arrives, before it takes its place: whole.
	// In the volume's root it would change the time that the engine tells as that of the volume's creation.
	incoming = ".incoming"
)

// PutFiles implements engine.Engine with PUT /containers/{name}/archive. The folder must lie on a
// volume that the node mounts writable. Folders get the mode 0700, existing ones too. A running node
// may see a file half-written.
func (e *Engine) PutFiles(ctx context.Context, node, folder string, files []engine.File) error {
	if err := e.putFiles(ctx, node, folder, files); err != nil {
		if cerrdefs.IsNotFound(err) {
			return &engine.NotFoundError{Kind: "container", Name: node}
		}
		return fmt.Errorf("unable to write files to container %s: %w", node, err)
	}
	return nil
}

func (e *Engine) putFiles(ctx context.Context, node, folder string, files []engine.File) error {
	have, err := e.inspect(ctx, node)
	if err != nil {
		return err
	}
	root, err := mountOf(have.Mounts, folder)
	if err != nil {
		return err
	}
	// The engine extracts only where a folder is. Of a volume only the root surely is, and that
	// belongs to root and stays so: the folders below come with the archive.
	archive, err := pack(strings.TrimPrefix(strings.TrimPrefix(path.Clean(folder), root), "/"), files, e.options.Now())
	if err != nil || len(files) == 0 {
		return err
	}
	return e.call(ctx, func(ctx context.Context) error {
		_, err := e.api.CopyToContainer(ctx, have.ID, client.CopyToContainerOptions{
			DestinationPath: root, Content: bytes.NewReader(archive),
		})
		return err
	})
}

// mountOf gives the mount point of the writable volume that a folder lies on.
func mountOf(mounts []container.MountPoint, folder string) (string, error) {
	clean := path.Clean(folder)
	if !path.IsAbs(folder) {
		return "", fmt.Errorf("folder %q is not absolute", folder)
	}
	var found *container.MountPoint
	for i, m := range mounts {
		if m.Type == mount.TypeVolume && (clean == m.Destination || below(clean, m.Destination)) &&
			(found == nil || len(m.Destination) > len(found.Destination)) {
			found = &mounts[i]
		}
	}
	if found == nil {
		return "", fmt.Errorf("folder %s lies on none of its volumes", clean)
	}
	if !found.RW {
		return "", fmt.Errorf("folder %s lies on volume %s, which it mounts read-only", clean, found.Name)
	}
	return found.Destination, nil
}

// pack makes a tar of files below a folder, folders first, everything in the order of its name. The engine writes
// what arrives over what is there, so an archive that breaks off would leave half of a file in the place of a
// whole one. Therefore each file comes under another name first, and as a link to that then. In the end
// nothing is under that name: a key that is replaced later has no second one.
func pack(folder string, files []engine.File, now time.Time) ([]byte, error) {
	type entry struct{ file, owner *engine.File }
	entries := map[string]entry{}
	for i := range files {
		f := &files[i]
		if !fs.ValidPath(f.Name) || f.Name == "." {
			return nil, fmt.Errorf("file name %q is not a clean relative path", f.Name)
		}
		if f.Mode > 0o777 {
			return nil, fmt.Errorf("mode %o of file %s has more than permission bits", f.Mode, f.Name)
		}
		name := path.Join(folder, f.Name)
		if _, ok := entries[name]; ok {
			return nil, fmt.Errorf("file %s is given twice, or is a folder too", f.Name)
		}
		entries[name] = entry{file: f}
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if have, ok := entries[dir]; ok && have.file != nil {
				return nil, fmt.Errorf("file %s is given twice, or is a folder too", f.Name)
			} else if !ok {
				entries[dir] = entry{owner: f}
			}
		}
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	var failure error
	first, _, _ := strings.Cut(folder, "/")
	arrival := path.Join(first, incoming)
	put := func(header tar.Header, content []byte) {
		if failure != nil {
			return
		}
		if failure = w.WriteHeader(&header); failure == nil {
			_, failure = w.Write(content)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		f := entries[name].file
		if f == nil {
			owner := entries[name].owner
			put(tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: folderMode, ModTime: now, Uid: owner.UID, Gid: owner.GID}, nil)
			continue
		}
		header := tar.Header{Typeflag: tar.TypeReg, Mode: int64(cmp.Or(f.Mode, 0o600)), ModTime: mark(sha256.Sum256(f.Content)), Uid: f.UID, Gid: f.GID}
		arriving, placed := header, header
		arriving.Name, arriving.Size = arrival, int64(len(f.Content))
		placed.Name, placed.Typeflag, placed.Linkname = name, tar.TypeLink, arrival
		put(arriving, f.Content)
		put(placed, nil)
	}
	put(tar.Header{Name: arrival, Typeflag: tar.TypeReg, Mode: 0o600, ModTime: now}, nil)
	if err := errors.Join(failure, w.Close()); err != nil {
		return nil, fmt.Errorf("unable to pack files: %w", err)
	}
	return out.Bytes(), nil
}

// GetFiles implements engine.Engine with GET /containers/{name}/archive. It fails beyond 64 MiB, and
// when the path is a symbolic link; links below it are left out.
func (e *Engine) GetFiles(ctx context.Context, node, name string) ([]engine.File, error) {
	if !path.IsAbs(name) {
		return nil, fmt.Errorf("unable to read %s of container %s: the path is not absolute", name, node)
	}
	var files []engine.File
	err := e.ask(ctx, func(ctx context.Context) error {
		archive, err := e.api.CopyFromContainer(ctx, node, client.CopyFromContainerOptions{SourcePath: path.Clean(name)})
		if err != nil {
			return err
		}
		defer func() { _ = archive.Content.Close() }() // what matters has been read
		if archive.Stat.Mode&fs.ModeSymlink != 0 {
			return fmt.Errorf("it is a symbolic link to %s", archive.Stat.LinkTarget)
		}
		files, err = unpack(archive.Content, maxFiles)
		return err
	})
	if cerrdefs.IsNotFound(err) {
		return nil, &engine.NotFoundError{Kind: "file", Name: node + ":" + name}
	}
	if err != nil {
		return nil, fmt.Errorf("unable to read %s of container %s: %w", name, node, err)
	}
	return files, nil
}

// mark is the time of modification that a file of this digest is written with. Whoever else writes the
// file leaves another time, so that a look at it, which costs the engine a fraction of reading it, tells
// whether it is ours still. It lies between 2000 and 2017: no clock of today gives it.
func mark(digest [sha256.Size]byte) time.Time {
	const first, span = 946684800, 1 << 29
	return time.Unix(first+int64(binary.BigEndian.Uint32(digest[:])%span), 0)
}

// KeepsFile implements engine.Engine with HEAD /containers/{name}/archive.
func (e *Engine) KeepsFile(ctx context.Context, node, name string, digest [sha256.Size]byte) (bool, error) {
	var stat client.ContainerStatPathResult
	err := e.call(ctx, func(ctx context.Context) (err error) {
		stat, err = e.api.ContainerStatPath(ctx, node, client.ContainerStatPathOptions{Path: path.Clean(name)})
		return err
	})
	if cerrdefs.IsNotFound(err) {
		return false, &engine.NotFoundError{Kind: "file", Name: node + ":" + name}
	}
	if err != nil {
		return false, fmt.Errorf("unable to look at %s of container %s: %w", name, node, err)
	}
	return stat.Stat.Mode.IsRegular() && stat.Stat.Mtime.Equal(mark(digest)), nil
}

// ReadArchive implements engine.Engine with GET /containers/{name}/archive. The engine holds the container
// meanwhile: it can be started when the call has ended.
func (e *Engine) ReadArchive(ctx context.Context, node, name string, read func(io.Reader) error) error {
	if !path.IsAbs(name) {
		return fmt.Errorf("unable to read %s of container %s: the path is not absolute", name, node)
	}
	var own error // of read: a full disk here is no failure of the engine
	err := e.call(ctx, func(ctx context.Context) error {
		archive, err := e.api.CopyFromContainer(ctx, node, client.CopyFromContainerOptions{SourcePath: path.Clean(name)})
		if err != nil {
			return err
		}
		defer func() { _ = archive.Content.Close() }() // what matters has been read
		stream := &failing{reader: archive.Content}
		own = read(stream)
		return stream.failure()
	})
	switch {
	case cerrdefs.IsNotFound(err):
		return &engine.NotFoundError{Kind: "file", Name: node + ":" + name}
	case err != nil:
		return fmt.Errorf("unable to read %s of container %s: %w", name, node, err)
	}
	return own
}

// WriteArchive implements engine.Engine with PUT /containers/{name}/archive.
func (e *Engine) WriteArchive(ctx context.Context, node, folder string, archive io.Reader) error {
	stream := &failing{reader: archive}
	err := e.call(ctx, func(ctx context.Context) error {
		have, err := e.inspect(ctx, node)
		if err != nil {
			return err
		}
		if _, err := mountOf(have.Mounts, folder); err != nil {
			return err
		}
		_, err = e.api.CopyToContainer(ctx, have.ID, client.CopyToContainerOptions{DestinationPath: path.Clean(folder), Content: stream})
		return err
	})
	switch {
	case stream.failure() != nil:
		return stream.failure()
	case cerrdefs.IsNotFound(err):
		return &engine.NotFoundError{Kind: "container", Name: node}
	case err != nil:
		return fmt.Errorf("unable to write to %s of container %s: %w", folder, node, err)
	}
	return nil
}

// failing remembers with what a reader failed.
type failing struct {
	reader io.Reader
	mu     sync.Mutex
	err    error
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.err = err
	}
	return n, err
}

// failure gives it: a request may still be reading when it has ended.
func (f *failing) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// unpack reads the regular files of a tar, with at most limit bytes in all; what is arriving is none yet.
func unpack(archive io.Reader, limit int64) ([]engine.File, error) {
	var (
		files []engine.File
		known = map[string]engine.File{}
		total int64
	)
	r := tar.NewReader(archive)
	for {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		file := engine.File{Name: path.Clean(header.Name), Mode: uint32(header.Mode & 0o777), UID: header.Uid, GID: header.Gid}
		switch header.Typeflag {
		case tar.TypeReg:
			if total += header.Size; total > limit {
				return nil, fmt.Errorf("it holds more than %d MiB", limit>>20)
			}
			if file.Content, err = io.ReadAll(r); err != nil {
				return nil, err
			}
		case tar.TypeLink: // a second name of a file that came before
			first, ok := known[path.Clean(header.Linkname)]
			if !ok {
				return nil, fmt.Errorf("%s is linked to %s, which is not below it", file.Name, header.Linkname)
			}
			if total += int64(len(first.Content)); total > limit {
				return nil, fmt.Errorf("it holds more than %d MiB", limit>>20)
			}
			file.Content = bytes.Clone(first.Content)
		default:
			continue
		}
		known[file.Name] = file
		files = append(files, file)
	}
	files = slices.DeleteFunc(files, func(f engine.File) bool { return path.Base(f.Name) == incoming })
	slices.SortStableFunc(files, func(a, b engine.File) int { return strings.Compare(a.Name, b.Name) })
	return files, nil
}
