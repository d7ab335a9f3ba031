// Package archive is the file that a backup is kept in: volumes and a manifest of what they hold, in one
// stream that is encrypted with a passphrase. It knows neither engines nor Fabric.
//
// The file is encrypted by age, compressed by gzip, and a tar inside: header.json first, so that
// whoever has the passphrase sees at once whose it is; then the content of each volume below
// volumes/NAME; the manifest last, because digests are known only then. Nothing is ever in memory as a
// whole. docs/decisions/0015 says why it is so.
package archive

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
)

// format is of the archive: a later one may be laid out otherwise.
const format = 1

// WorkFactor makes each guess of the passphrase of an archive that is written take about a second, but in
// tests: it is the logarithm of how much scrypt computes.
var WorkFactor = 18

const (
	headerFile   = "header.json"
	manifestFile = "manifest.json"
	volumeFolder = "volumes/"
	// mostManifest bounds what is taken into memory of a header or a manifest.
	mostManifest = 256 << 20
)

// What can be wrong with an archive, to be found with errors.Is.
var (
	// ErrPassphrase: the archive was encrypted with another passphrase.
	ErrPassphrase = errors.New("the passphrase is not the one that the archive was written with")
	// ErrNoArchive: the file is no archive of this provider.
	ErrNoArchive = errors.New("it is no backup of this provider")
	// ErrDamaged: the archive is not as it was written.
	ErrDamaged = errors.New("the archive is damaged")
)

// Header tells what an archive is of.
type Header struct {
	Format int `json:"format"`
	// Network, Domain and Owner are of the network that was backed up.
	Network string    `json:"network"`
	Domain  string    `json:"domain"`
	Owner   string    `json:"owner_id"`
	Taken   time.Time `json:"taken_at"`
}

// Manifest tells what an archive holds.
type Manifest struct {
	Header
	// Volumes are in the order of their names.
	Volumes []*Volume `json:"volumes"`
	// Nodes are the containers that there were, for whoever makes them again.
	Nodes []Node `json:"nodes"`
	// Heights are the blocks of each channel that the archive holds.
	Heights map[string]uint64 `json:"heights"`
}

// Volume is a volume with its content.
type Volume struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels"`
	// Image is the content that its container was made from.
	Image string `json:"image"`
	Files []File `json:"files"`
	// LedgerOf is the volume whose ledger this one has too, with whatever else is in LedgerFolder.
	LedgerOf     string `json:"ledger_of,omitempty"`
	LedgerFolder string `json:"ledger_folder,omitempty"`
}

// File is a file of a volume.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	Mode   int64  `json:"mode"`
	UID    int    `json:"uid"`
	GID    int    `json:"gid"`
}

// Node is a container as it was.
type Node struct {
	Name string `json:"name"`
	// Image is the reference that was asked for, ImageID the content that it ran.
	Image   string            `json:"image"`
	ImageID string            `json:"image_id"`
	Labels  map[string]string `json:"labels"`
}

// Volume gives a volume by its name; nil when there is none.
func (m *Manifest) Volume(name string) *Volume {
	for _, v := range m.Volumes {
		if v.Name == name {
			return v
		}
	}
	return nil
}

// Summary is what is known of an archive that was written.
type Summary struct {
	// SHA256 is of the file, ManifestSHA256 of the manifest in it, both in hexadecimal.
	SHA256, ManifestSHA256 string
	Size                   int64
}

// Writer writes an archive. Until Close the file has another name, so that nobody takes half of one
// for a whole one.
type Writer struct {
	path     string
	header   Header
	file     *os.File
	digest   hash.Hash
	buffer   *bufio.Writer
	sealed   io.WriteCloser
	pressed  *gzip.Writer
	tar      *tar.Writer
	manifest Manifest
}

// partial is the name of an archive that is being written.
func partial(path string) string { return path + ".partial" }

// Create begins an archive. What is at the path stays until Close.
func Create(path, passphrase string, header Header) (*Writer, error) {
	header.Format = format
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, err
	}
	recipient.SetWorkFactor(WorkFactor)
	file, err := os.OpenFile(partial(path), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	w := &Writer{path: path, header: header, file: file, digest: sha256.New(), manifest: Manifest{Header: header}}
	w.buffer = bufio.NewWriterSize(io.MultiWriter(file, w.digest), 1<<20)
	if w.sealed, err = age.Encrypt(w.buffer, recipient); err != nil {
		return nil, errors.Join(err, w.Abort())
	}
	// The nodes stand still while they are read: what takes less time matters more than some megabytes.
	if w.pressed, err = gzip.NewWriterLevel(w.sealed, gzip.BestSpeed); err != nil {
		return nil, errors.Join(err, w.Abort())
	}
	w.tar = tar.NewWriter(w.pressed)
	if _, err := w.document(headerFile, header); err != nil {
		return nil, errors.Join(err, w.Abort())
	}
	return w, nil
}

// document writes a JSON file, and gives its digest.
func (w *Writer) document(name string, content any) (string, error) {
	raw, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return "", err
	}
	if err := w.tar.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o600, Size: int64(len(raw)), ModTime: w.header.Taken}); err != nil {
		return "", err
	}
	_, err = w.tar.Write(raw)
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]), err
}

// Volume adds a volume without content.
func (w *Writer) Volume(v Volume) {
	w.manifest.Volumes = append(w.manifest.Volumes, &v)
}

// Folder adds a folder that only its owner may enter.
func (w *Writer) Folder(volume, name string, uid, gid int) error {
	return w.tar.WriteHeader(&tar.Header{
		Name: volumeFolder + volume + "/" + name + "/", Typeflag: tar.TypeDir, Mode: 0o700, Uid: uid, Gid: gid, ModTime: w.header.Taken,
	})
}

// Fill adds what a tar holds to a folder of a volume; an empty one is the volume's root. What skip
// accepts by its name in the volume is left out.
func (w *Writer) Fill(volume, folder string, content io.Reader, skip func(name string) bool) error {
	v := w.manifest.Volume(volume)
	if v == nil {
		return fmt.Errorf("volume %s is not in the archive", volume)
	}
	for r := tar.NewReader(content); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := path.Join(folder, header.Name) //nolint:gosec // refused below when it is not local
		switch {
		case skip != nil && skip(name):
			continue
		case !filepath.IsLocal(header.Name):
			return fmt.Errorf("%s of volume %s is outside of it", header.Name, volume)
		case header.Typeflag != tar.TypeReg && header.Typeflag != tar.TypeDir:
			return fmt.Errorf("%s of volume %s is neither file nor folder", name, volume)
		}
		if err := w.add(v, name, header, r); err != nil {
			return fmt.Errorf("unable to add %s of volume %s: %w", name, volume, err)
		}
	}
}

func (w *Writer) add(v *Volume, name string, header *tar.Header, content io.Reader) error {
	out := &tar.Header{
		Name: volumeFolder + v.Name + "/" + name, Typeflag: header.Typeflag, Mode: header.Mode, Uid: header.Uid, Gid: header.Gid,
		ModTime: header.ModTime, Size: header.Size,
	}
	if header.Typeflag == tar.TypeDir {
		out.Name, out.Size = out.Name+"/", 0
		return w.tar.WriteHeader(out)
	}
	if err := w.tar.WriteHeader(out); err != nil {
		return err
	}
	digest := sha256.New()
	if _, err := io.Copy(io.MultiWriter(w.tar, digest), content); err != nil {
		return err
	}
	v.Files = append(v.Files, File{
		Name: name, Size: header.Size, SHA256: hex.EncodeToString(digest.Sum(nil)), Mode: header.Mode, UID: header.Uid, GID: header.Gid,
	})
	return nil
}

// Close writes the manifest, brings everything to the disk, and gives the archive its name.
func (w *Writer) Close(nodes []Node, heights map[string]uint64) (Summary, error) {
	w.manifest.Nodes, w.manifest.Heights = nodes, heights
	slices.SortStableFunc(w.manifest.Volumes, func(a, b *Volume) int { return strings.Compare(a.Name, b.Name) })
	summary, err := w.finish()
	if err != nil {
		return Summary{}, errors.Join(err, w.Abort())
	}
	if err := os.Rename(partial(w.path), w.path); err != nil {
		return Summary{}, errors.Join(err, w.Abort())
	}
	return summary, syncFolder(filepath.Dir(w.path))
}

func (w *Writer) finish() (summary Summary, err error) {
	if summary.ManifestSHA256, err = w.document(manifestFile, w.manifest); err != nil {
		return summary, err
	}
	for _, end := range []func() error{w.tar.Close, w.pressed.Close, w.sealed.Close, w.buffer.Flush, w.file.Sync} {
		if err := end(); err != nil {
			return summary, err
		}
	}
	info, err := w.file.Stat()
	if err != nil {
		return summary, err
	}
	summary.SHA256, summary.Size = hex.EncodeToString(w.digest.Sum(nil)), info.Size()
	return summary, w.file.Close()
}

// syncFolder makes sure that the name of a file outlives a power failure.
func syncFolder(folder string) error {
	dir, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Abort takes away what was written. What was at the path before is still there.
func (w *Writer) Abort() error {
	_ = w.file.Close() // it may be closed already
	err := os.Remove(partial(w.path))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
