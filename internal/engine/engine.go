// Package engine is where nodes run, in a node's own terms: networks, volumes, files, images and
// nodes. It knows nothing of Fabric and nothing of Terraform.
//
// An engine is also the registry: every object that we make carries labels (see Labels), and names
// are deterministic, so that whatever was lost elsewhere is found again here. An object without our
// owner's label is foreign and is never changed.
package engine

import (
	"context"
	"crypto/sha256"
	"io"
	"net"
	"time"
)

// Engine runs nodes. Every method honours its context. Methods that make or remove something are
// idempotent as far as they say so. The sentinel errors of this package are found with errors.Is.
type Engine interface {
	// Info tells which engine this is. ErrUnreachable when it does not answer.
	Info(ctx context.Context) (Info, error)

	// CreateNetwork makes a network. One that exists with the same owner is success;
	// any other of that name is ErrForeign.
	CreateNetwork(ctx context.Context, spec NetworkSpec) error
	// Network reads a network by name; ErrNotFound.
	Network(ctx context.Context, name string) (Network, error)
	// RemoveNetwork removes a network of this owner and waits until it is gone. Absent is success.
	RemoveNetwork(ctx context.Context, name, owner string) error

	// CreateVolume makes a volume. One that exists with the same owner is success and keeps its
	// content; any other of that name is ErrForeign.
	CreateVolume(ctx context.Context, spec VolumeSpec) error
	// Volume reads a volume by name; ErrNotFound.
	Volume(ctx context.Context, name string) (Volume, error)
	// RemoveVolume removes a volume of this owner with all it holds. Absent is success.
	RemoveVolume(ctx context.Context, name, owner string) error

	// ResolveImage finds an image: on the engine first, pulled when absent. *ImageError (ErrNoImage)
	// names the image and the host that was asked.
	ResolveImage(ctx context.Context, reference string) (Image, error)

	// CreateNode makes a node without starting it. Its image and its volumes must be there
	// (ErrNoImage, ErrNotFound). One that exists with the same owner and the same
	// spec hash is success; the same owner and another hash is ErrConflict; any other is ErrForeign.
	CreateNode(ctx context.Context, spec NodeSpec) error
	// CheckNode tells whether the engine would make such a node, by making one under another name
	// that is gone again when it returns: errors are those of CreateNode, and whatever the engine has
	// against the spec. It starts nothing, so host ports may be taken.
	CheckNode(ctx context.Context, spec NodeSpec) error
	// StartNode starts a created or stopped node; a running one is success. *PortError (ErrPortTaken)
	// when a host port of it is in use.
	StartNode(ctx context.Context, name string) error
	// StopNode asks the node to end and waits until it has; after grace it is killed.
	// A stopped or absent node is success.
	StopNode(ctx context.Context, name string, grace time.Duration) error
	// RemoveNode removes a node of this owner, running or not, with its anonymous volumes but no
	// named one, and waits until it is gone. Absent is success.
	RemoveNode(ctx context.Context, name, owner string) error
	// RenameNode gives a node of this owner another name. ErrNotFound; ErrConflict when the name is taken.
	RenameNode(ctx context.Context, name, newName, owner string) error
	// Node reads a node by name; ErrNotFound.
	Node(ctx context.Context, name string) (Node, error)
	// AwaitExit blocks until the node is no longer running, and gives its exit code.
	// ErrNotFound when it is removed meanwhile.
	AwaitExit(ctx context.Context, name string) (int, error)
	// Settings reads how a node was made, by whomever; ErrNotFound.
	Settings(ctx context.Context, name string) (Settings, error)
	// Remake replaces a node that somebody else made by one that differs in nothing but the change,
	// and leaves it stopped: name, mounts, environment, command, user, networks, aliases, ports and
	// labels stay. What it mounts is not touched, and volumes that nobody named go over to the new
	// one. It is stopped first, within grace, once the engine has taken the new one. An attempt that
	// was cut short is gone on with.
	Remake(ctx context.Context, name string, change Change, grace time.Duration) error
	// RunOnce creates a node from the spec, runs it to its end, removes it and gives its exit code
	// and output.
	RunOnce(ctx context.Context, spec NodeSpec) (RunResult, error)
	// Logs gives the last lines that a node wrote, oldest first, at most lines of them.
	Logs(ctx context.Context, name string, lines int) ([]string, error)

	// PutFiles writes files below a folder of a node's volumes, started or not. Folders in between
	// are made with the owner of the files in them and mode 0700. An existing file is replaced.
	PutFiles(ctx context.Context, node, folder string, files []File) error
	// GetFiles reads every regular file below a path of a node's file system, or the one file that
	// the path names. Names are relative to the path's parent folder. ErrNotFound when the path is not there.
	GetFiles(ctx context.Context, node, path string) ([]File, error)
	// KeepsFile tells, without reading it, whether a file of a node is the one that PutFiles wrote with a
	// content of this SHA-256. False says no more than that it is to be read. ErrNotFound when the file
	// or the node is not there.
	KeepsFile(ctx context.Context, node, path string, digest [sha256.Size]byte) (bool, error)
	// ReadArchive has what lies at a path of a node's file system read as a tar, whatever its size: names
	// in it begin with the last element of the path. The reader ends with the call, whose error is read's
	// own where that failed. ErrNotFound when the path is not there.
	ReadArchive(ctx context.Context, node, path string, read func(io.Reader) error) error
	// WriteArchive puts what a tar holds below a folder of a node's volumes, started or not, with the
	// owners and modes that the tar says. The folder must be there, as a volume's own root is. What was
	// written stays when the reader fails, whose error is the call's own.
	WriteArchive(ctx context.Context, node, folder string, archive io.Reader) error

	// Nodes, Volumes and Networks list the objects that carry all the given labels. Leases are no nodes. A
	// record of what is gone is listed as stopped.
	Nodes(ctx context.Context, labels map[string]string) ([]Node, error)
	Volumes(ctx context.Context, labels map[string]string) ([]Volume, error)
	Networks(ctx context.Context, labels map[string]string) ([]Network, error)

	// CreateLease makes a lease, at once or not at all. One of that name with the same owner is
	// ErrLeased, whoever holds it; any other object of that name is ErrForeign or ErrConflict.
	CreateLease(ctx context.Context, spec LeaseSpec) (Lease, error)
	// RenewLease changes the beat of exactly this lease, and gives it so. ErrNotFound when it was
	// taken away, also when another one has its name by now.
	RenewLease(ctx context.Context, lease Lease) (Lease, error)
	// RemoveLease removes exactly this lease, and no other one that has its name by now. Absent is success.
	RemoveLease(ctx context.Context, lease Lease) error
	// Leases lists the leases that carry all the given labels, in the order of their names.
	Leases(ctx context.Context, labels map[string]string) ([]Lease, error)

	// Dial opens a connection to a port on which the node itself listens, from where the provider
	// runs. The node must publish that port or the engine must have a way of its own.
	Dial(ctx context.Context, node string, port int) (net.Conn, error)
	// PublishedPorts gives the host ports that nodes of the engine, running or not, are bound to,
	// with the node's name.
	PublishedPorts(ctx context.Context) ([]PublishedPort, error)
	// PortFree tells whether a host port can be bound at an address of the engine's host, as far as
	// that can be known from here; true when it cannot be known.
	PortFree(ctx context.Context, address string, port int) (bool, error)

	// Close frees the connections.
	Close() error
}

// Info is what an engine says of itself.
type Info struct {
	// ID is the engine's own identity, stable over restarts; another engine behind the same address has another.
	ID string
	// Name is the host's name, Version the engine's.
	Name, Version string
	// Address is the address that the engine was reached at, for error messages.
	Address string
}

// NetworkSpec asks for a network.
type NetworkSpec struct {
	Name   string
	Labels map[string]string
}

// Network is a network as the engine has it.
type Network struct {
	Name, ID string
	Labels   map[string]string
}

// VolumeSpec asks for a volume.
type VolumeSpec struct {
	Name   string
	Labels map[string]string
}

// Volume is a volume as the engine has it.
type Volume struct {
	Name   string
	Labels map[string]string
}

// Image is an image as the engine has it.
type Image struct {
	// Reference is what was asked for.
	Reference string
	// ID is the engine's content digest, sha256:…; a node made from it runs exactly that content.
	ID string
	// Digests are those under which registries gave it, sha256:…, sorted; none for an image that was
	// built here.
	Digests []string
}

// NodeSpec asks for a node. Every node is hardened: it runs as User, with a read-only root file
// system, without capabilities, without new privileges.
type NodeSpec struct {
	Name string
	// Hostname is the fully qualified name by which other nodes of the network reach it.
	Hostname string
	// Aliases are further names on the network.
	Aliases []string
	// Image is an image ID or a reference.
	Image string
	// Network is the name of the network; empty: none.
	Network string
	// Entrypoint and Command replace the image's when not nil.
	Entrypoint, Command []string
	Env                 map[string]string
	Mounts              []Mount
	// Tmpfs are folders in memory, writable by User.
	Tmpfs []string
	Ports []Port
	// User is uid:gid.
	User   string
	Limits Limits
	Log    Log
	// Labels of ours and of the user.
	Labels map[string]string
	// Restart brings the node back after its process died or the engine restarted.
	Restart bool
	// Adopts makes the node the record of another one, see Adoption; nil for every other.
	Adopts *Adoption
}

// Adoption is what the record of a node holds that somebody else made. The record carries our labels,
// which cannot be added to what exists; it is never started. Whoever asks for the node's state, its log
// or a connection by the name of the record gets those of the node that it stands for, and to start, to
// stop or to await the record means that node. Its files are its own.
type Adoption struct {
	// Node is the name of the node.
	Node string
	// Ports say for each port by which the node is known where it listens. Others cannot be dialled.
	Ports map[int]int
}

// Settings are how a node was made.
type Settings struct {
	// Image is the reference that it was made from, ImageID its content.
	Image, ImageID string
	Env            map[string]string
	Limits         Limits
}

// Change is what Remake makes different.
type Change struct {
	// Image is a reference.
	Image  string
	Limits Limits
	// Renew is a folder of which the image has a first content: a volume that nobody named is not taken
	// over there, and left behind.
	Renew string
}

// Mount puts a volume into a node.
type Mount struct {
	Volume, Target string
	ReadOnly       bool
}

// Port publishes a port of the node on a host port.
type Port struct {
	// Container is the port on which the node listens, Host the port on the engine's host.
	Container, Host int
	// Address is the host's address that is bound, for example 127.0.0.1.
	Address string
}

// Limits bound a node; zero is no limit.
type Limits struct {
	// MemoryBytes is the memory limit in bytes.
	MemoryBytes int64
	// PIDs is the number of processes and threads.
	PIDs int64
	// CPUs is the number of processors.
	CPUs float64
}

// Log says where a node's output goes; an empty driver is the engine's default.
type Log struct {
	Driver  string
	Options map[string]string
}

// Node is a node as the engine has it.
type Node struct {
	Name, ID string
	// ImageID is the image it was made from.
	ImageID string
	Labels  map[string]string
	// Status is the state of its process.
	Status Status
	// ExitCode is the last one, when stopped.
	ExitCode int
	// OOMKilled tells that the kernel ended it for want of memory.
	OOMKilled bool
	// Restarts is how often the engine has started it again by itself since somebody started it. Known of a node
	// that is read by its name.
	Restarts int
	// Ports are the published ports, bound or to be bound at start.
	Ports []Port
	// NetworkIDs are the networks that it is attached to.
	NetworkIDs []string
	// Volumes are the named volumes that it mounts.
	Volumes []string
	// Altered says in words what somebody changed of it since it was made: limits, the restart policy,
	// its names on the network. Known of a node that is read by its name, and of those that do not run.
	Altered []string
	// Adopted is the name of the node that a record stands for; empty for every other.
	Adopted string
}

// Status is the state of a node's process.
type Status string

// The states of a node. Absent is never given by an engine (that is ErrNotFound); it is the word
// for a node that should be there.
const (
	Running Status = "running"
	Created Status = "created"
	Stopped Status = "stopped"
	Absent  Status = "absent"
)

// RunResult is what a run-once node left.
type RunResult struct {
	ExitCode int
	// Output are the last lines of both streams.
	Output []string
}

// File is one regular file.
type File struct {
	// Name is a slash-separated path relative to the folder it is put below or was read from.
	Name    string
	Content []byte
	// Mode are permission bits; zero is 0600. UID and GID own the file and the folders made for it.
	Mode     uint32
	UID, GID int
}

// LeaseSpec asks for a lease: an object that one at a time can make, and by which others are held off
// until it is gone.
type LeaseSpec struct {
	Name string
	// Image is an image that the engine has, for engines whose objects need one.
	Image  string
	Labels map[string]string
}

// Lease is a lease as the engine has it. An engine keeps it until it is removed: whether its holder
// still lives is for others to judge, by whether Beat changes.
type Lease struct {
	// ID is of this very lease; a later one of the same name has another.
	Name, ID string
	Labels   map[string]string
	// Beat is how often it was renewed.
	Beat int
}

// PublishedPort is a host port that a node is bound to.
type PublishedPort struct {
	Node, Owner, Address string
	Port                 int
}
