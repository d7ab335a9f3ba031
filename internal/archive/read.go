package archive

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"filippo.io/age"
)

// reader goes through an archive once.
type reader struct {
	file   *os.File
	tar    *tar.Reader
	header Header
}

// open opens an archive as far as its header.
func open(path, passphrase string) (*reader, error) {
	identity, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r := &reader{file: file}
	if err := r.begin(identity); err != nil {
		return nil, errors.Join(fmt.Errorf("unable to read %s: %w", path, err), file.Close())
	}
	return r, nil
}

func (r *reader) begin(identity age.Identity) error {
	plain, err := age.Decrypt(r.file, identity)
	switch {
	case errors.As(err, new(*age.NoIdentityMatchError)):
		return ErrPassphrase
	case err != nil:
		return fmt.Errorf("%w: %w", ErrNoArchive, err)
	}
	unpressed, err := gzip.NewReader(plain)
	switch {
	case errors.Is(err, gzip.ErrHeader) || errors.Is(err, io.EOF):
		return ErrNoArchive
	case err != nil:
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	r.tar = tar.NewReader(unpressed)
	first, err := r.tar.Next()
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	case first.Name != headerFile:
		return ErrNoArchive
	}
	if _, err := r.document(&r.header); err != nil {
		return err
	}
	if r.header.Format != format {
		return fmt.Errorf("it has format %d, and this release of the provider reads format %d: use the release that wrote it", r.header.Format, format)
	}
	return nil
}

func (r *reader) document(into any) (digest string, err error) {
	raw, err := io.ReadAll(io.LimitReader(r.tar, mostManifest))
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return "", fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]), nil
}

// each visits what the volumes hold, and then takes the manifest.
func (r *reader) each(manifest *Manifest, visit func(volume, name string, header *tar.Header, content io.Reader) error) (digest string, err error) {
	for digest == "" {
		header, err := r.tar.Next()
		if err != nil {
			return "", fmt.Errorf("%w: it ends before its manifest: %w", ErrDamaged, err)
		}
		if header.Name == manifestFile {
			if digest, err = r.document(manifest); err != nil {
				return "", err
			}
			continue
		}
		volume, name, ok := strings.Cut(strings.TrimPrefix(header.Name, volumeFolder), "/")
		if !ok || !strings.HasPrefix(header.Name, volumeFolder) {
			return "", fmt.Errorf("%w: it holds %q", ErrDamaged, header.Name)
		}
		if err := visit(volume, strings.TrimSuffix(name, "/"), header, r.tar); err != nil {
			return "", err
		}
	}
	if _, err := r.tar.Next(); !errors.Is(err, io.EOF) { // which also reads age's last chunk
		return "", fmt.Errorf("%w: there is more behind its manifest", ErrDamaged)
	}
	return digest, nil
}

// Peek reads whose an archive is.
func Peek(path, passphrase string) (Header, error) {
	r, err := open(path, passphrase)
	if err != nil {
		return Header{}, err
	}
	return r.header, r.file.Close()
}

// Verify reads an archive as a whole and compares each file with the manifest. It gives the manifest,
// and its digest.
func Verify(path, passphrase string) (manifest Manifest, digest string, err error) {
	r, err := open(path, passphrase)
	if err != nil {
		return Manifest{}, "", err
	}
	defer func() { err = errors.Join(err, r.file.Close()) }()
	found := map[string]File{}
	digest, err = r.each(&manifest, func(volume, name string, header *tar.Header, content io.Reader) error {
		if header.Typeflag != tar.TypeReg {
			return nil
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, content); err != nil {
			return fmt.Errorf("%w: %s of volume %s: %w", ErrDamaged, name, volume, err)
		}
		found[volume+"/"+name] = File{
			Name: name, Size: header.Size, SHA256: hex.EncodeToString(sum.Sum(nil)), Mode: header.Mode, UID: header.Uid, GID: header.Gid,
		}
		return nil
	})
	if err != nil {
		return Manifest{}, "", err
	}
	return manifest, digest, manifest.compare(found)
}

// compare fails unless the files are exactly those of the manifest.
func (m *Manifest) compare(found map[string]File) error {
	for _, v := range m.Volumes {
		for _, f := range v.Files {
			if found[v.Name+"/"+f.Name] != f {
				return fmt.Errorf("%w: %s of volume %s is not what its manifest says", ErrDamaged, f.Name, v.Name)
			}
			delete(found, v.Name+"/"+f.Name)
		}
	}
	for name := range found {
		return fmt.Errorf("%w: %s is not in its manifest", ErrDamaged, name)
	}
	return nil
}

// Extract gives the content of each volume as the tar that it was filled from. What comes from several
// parts of the archive comes in several calls, one after the other for the same volume.
func (m *Manifest) Extract(path, passphrase string, write func(volume string, content io.Reader) error) (err error) {
	r, err := open(path, passphrase)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.file.Close()) }()
	out := &outlets{write: write, open: map[string]*outlet{}}
	_, err = r.each(&Manifest{}, func(volume, name string, header *tar.Header, content io.Reader) error {
		if err := out.turn(volume); err != nil {
			return err
		}
		return out.add(m.holders(volume, name), name, header, content)
	})
	return out.end(err)
}

// holders are the volumes that have a file of a volume.
func (m *Manifest) holders(volume, name string) []string {
	out := []string{volume}
	for _, v := range m.Volumes {
		if v.LedgerOf == volume && (name == v.LedgerFolder || strings.HasPrefix(name, v.LedgerFolder+"/")) {
			out = append(out, v.Name)
		}
	}
	return out
}

// outlets hand content to whoever writes it, while it is read.
type outlets struct {
	write func(volume string, content io.Reader) error
	// from is the volume whose part of the archive it is.
	from string
	open map[string]*outlet
}

// outlet is the content of one volume on its way.
type outlet struct {
	pipe *io.PipeWriter
	tar  *tar.Writer
	done chan error
}

// turn begins with the part of another volume, when it is another one.
func (o *outlets) turn(from string) error {
	if o.from == from {
		return nil
	}
	o.from = from
	return o.end(nil)
}

func (o *outlets) add(volumes []string, name string, header *tar.Header, content io.Reader) error {
	header.Name = name
	if header.Typeflag == tar.TypeDir {
		header.Name += "/"
	}
	var writers []io.Writer
	for _, volume := range volumes {
		w := o.to(volume)
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		writers = append(writers, w)
	}
	_, err := io.Copy(io.MultiWriter(writers...), content)
	return err
}

func (o *outlets) to(volume string) *tar.Writer {
	if out := o.open[volume]; out != nil {
		return out.tar
	}
	content, pipe := io.Pipe()
	out := &outlet{pipe: pipe, tar: tar.NewWriter(pipe), done: make(chan error, 1)}
	o.open[volume] = out
	go func() {
		err := o.write(volume, content)
		_ = content.CloseWithError(err) // never fails
		out.done <- err
	}()
	return out.tar
}

// end ends all content. With a cause it is cut short: then the writers' own errors come first, for the
// cause may be nothing but that one of them no longer took any.
func (o *outlets) end(cause error) error {
	var failed []error
	for _, out := range o.open {
		ended := cause
		if ended == nil {
			ended = out.tar.Close()
		}
		_ = out.pipe.CloseWithError(ended) // never fails; nil is the end of the content
		if err := <-out.done; err != nil && !errors.Is(err, cause) {
			failed = append(failed, err)
		}
	}
	clear(o.open)
	if len(failed) > 0 {
		return errors.Join(failed...)
	}
	return cause
}
