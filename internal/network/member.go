package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/ca"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// MemberState is what is known of a node that is a member of an organization: a peer, an orderer.
type MemberState struct {
	NodeState
	// Certificates are in PEM by CertificateEnrollment, CertificateTLS (with its intermediates) and
	// CertificateOperations.
	Certificates map[string]string
	Ledger       Ledger
	// StateDatabase is the database beside a peer; nil with goleveldb, and as long as it was not asked for.
	StateDatabase *NodeState
}

// Ledger says whether a node has joined a channel.
type Ledger int

// What can be known of it.
const (
	LedgerUnknown Ledger = iota
	LedgerNone
	LedgerHeld
)

func ledgerOf(channels int) Ledger {
	if channels > 0 {
		return LedgerHeld
	}
	return LedgerNone
}

// recorded looks for a channel of ours whose record has the node: what it holds when it cannot be
// asked. No record proves nothing.
func (f *Fabric) recorded(ctx context.Context, h Handle, has func(channelRecord) bool) (Ledger, error) {
	records, err := f.channelRecords(ctx, h.Owner)
	for _, record := range records {
		if has(record) {
			return LedgerHeld, nil
		}
	}
	return LedgerUnknown, err
}

// channelRecords gives the records of the channels of an owner. One that cannot be read says nothing of
// any node, and is its channel's business.
func (f *Fabric) channelRecords(ctx context.Context, owner string) (map[Handle]channelRecord, error) {
	volumes, err := f.engine.Volumes(ctx, map[string]string{engine.LabelOwner: owner, engine.LabelKind: string(KindChannel)})
	if err != nil {
		return nil, err
	}
	records := map[Handle]channelRecord{}
	for _, v := range volumes {
		channel := handleOf(v.Labels)
		if record, err := f.channelRecord(ctx, channel); err == nil {
			records[channel] = record
		}
	}
	return records, nil
}

// ensureMember makes a node that is a member of an organization, and tells its certificates. Those
// whose keys nobody may trust any more are revoked once the node runs without them.
func (f *Fabric) ensureMember(ctx context.Context, n *node) (MemberState, error) {
	f.conns.forget(n.handle)
	state := MemberState{Certificates: map[string]string{}}
	if n.options.Container != "" {
		return f.ensureAdoptedMember(ctx, n)
	}
	n.material = recalled(n.material, memberCertificates, state.Certificates)
	var err error
	if state.NodeState, err = f.ensure(ctx, n); err != nil {
		return state, err
	}
	return state, f.endRotation(ctx, n.handle, n.options.Renewal)
}

// Files of a member below keysFolder.
const (
	enrollmentFile    = "msp/signcerts/cert.pem"
	enrollmentKeyFile = "msp/keystore/key.pem"
	tlsFolder         = "tls"
	tlsFile           = tlsFolder + "/cert.pem"
	tlsKeyFile        = tlsFolder + "/key.pem"
	operationsFolder  = "operations"
)

var memberCertificates = map[string]string{
	CertificateEnrollment: enrollmentFile, CertificateTLS: tlsFile, CertificateOperations: operationsFolder + "/cert.pem",
}

// memberMaterial issues what a node of an organization needs and does not have, or has to have anew:
// its local MSP from the enrolment CA, its TLS certificate from the TLS CA, and the listener
// certificate of its operations endpoint from the operations root. Keys are made here, or read where
// the organization has no CA here, written to the node's own volume, and forgotten.
func (f *Fabric) memberMaterial(h Handle, kind string, options NodeOptions) func(context.Context, map[string][]byte) (map[string][]byte, error) {
	return func(ctx context.Context, have map[string][]byte) (map[string][]byte, error) {
		org, err := f.organizationKeys(ctx, h.Organization())
		if err != nil {
			return nil, err
		}
		var enrolled, tls *certificate.KeyPair // nil: as it is
		given, err := f.given(ctx, h, org, options, have)
		if from, no := org.ca(); err == nil && no == nil {
			registration := ca.Registration{ID: h.Name, Type: kind, MaxEnrollments: ca.Unlimited}
			enrolled, tls, err = f.enrollNode(ctx, from, org, registration, options, options.hosts(h), have)
		} else if given != nil {
			enrolled, tls = given.enrollment, given.tls
		}
		if err != nil {
			return nil, err
		}
		var own *msp.Identity
		if enrolled != nil {
			own = &msp.Identity{ID: h.MSPID, CertificatePEM: enrolled.CertificatePEM(), Key: enrolled.Key}
		}
		folder, err := msp.Folder(org.member(), own)
		if err != nil {
			return nil, err
		}
		files := map[string][]byte{}
		for name, content := range folder {
			files["msp/"+name] = content
		}
		if tls != nil {
			if err := putPair(files, tlsFolder, tls); err != nil {
				return nil, err
			}
			for _, text := range org.Definition.TLSIntermediateCertificates { // others know the roots only
				files[tlsFile] = append(files[tlsFile], text...)
			}
			if given != nil {
				files[tlsFile] = given.chain
			}
		}
		for name, content := range have {
			if strings.HasPrefix(name, nextFolder+"/") && len(content) > 0 {
				files[name] = nil // it is in use from now on
			}
		}
		files[tlsFolder+"/root.pem"] = []byte(strings.Join(org.Definition.TLSRootCertificates, ""))
		if err := f.operationsMaterial(ctx, h, options, have, files); err != nil {
			return nil, err
		}
		// What the node has already need not be written again: it would have to be stopped for it.
		maps.DeleteFunc(files, func(name string, content []byte) bool {
			known, ok := have[name]
			return ok && bytes.Equal(known, content)
		})
		return files, nil
	}
}

// enrollNode gets those of a node's two certificates from its organization's CA that it lacks, or
// that are to be replaced. Keys stay, because consenters are recognised by them.
func (f *Fabric) enrollNode(ctx context.Context, from Handle, org *organizationKeys, registration ca.Registration, options NodeOptions,
	hosts []string, have map[string][]byte,
) (enrolled, tls *certificate.KeyPair, err error) {
	group, gctx := errgroup.WithContext(ctx)
	certPEM, keyPEM, next := newest(have, enrollmentFile, enrollmentKeyFile)
	switch {
	case !paired(certPEM, keyPEM) || !options.Known && (!certifies(org.Definition, string(certPEM)) || options.replaces(certPEM)):
		request := ca.EnrollRequest{Key: options.keptKey(certPEM, keyPEM)}
		group.Go(func() error {
			enrollment, err := f.enrollNew(gctx, from, enrollmentCA, registration, request)
			if err == nil {
				enrolled = enrollment.KeyPair
			}
			return err
		})
	case next != nil:
		enrolled = next
	}
	certPEM, keyPEM, next = newest(have, tlsFile, tlsKeyFile)
	switch {
	case !paired(certPEM, keyPEM) || !chains(string(certPEM), nil, org.issuing()) || !names(certPEM, hosts) || options.replaces(certPEM):
		request := ca.EnrollRequest{Profile: ca.ProfileTLS, Hosts: hosts, Key: options.keptKey(certPEM, keyPEM)}
		group.Go(func() error {
			enrollment, err := f.enrollNew(gctx, from, tlsCA, registration, request)
			if err == nil {
				tls = enrollment.KeyPair
			}
			return err
		})
	case next != nil:
		tls = next
	}
	err = group.Wait()
	return enrolled, tls, err
}

// newest gives a certificate of a node and its key: those that it is about to have, when the channels have
// been told of them already, as next too; otherwise those that it has.
func newest(have map[string][]byte, certFile, keyFile string) (certPEM, keyPEM []byte, next *certificate.KeyPair) {
	certPEM, keyPEM = have[nextFolder+"/"+certFile], have[nextFolder+"/"+keyFile]
	if pair, err := certificate.ParseKeyPair(firstBlock(certPEM), keyPEM); err == nil {
		return certPEM, keyPEM, pair
	}
	return have[certFile], have[keyFile], nil
}

// operationsMaterial adds the certificate of the operations and admin endpoints, unless the node has
// one of today's operations root. It lives as long as the TLS certificate, so that one restart renews both.
func (f *Fabric) operationsMaterial(ctx context.Context, h Handle, options NodeOptions, have, files map[string][]byte) error {
	root, err := f.operationsRoot(ctx, h)
	if err != nil {
		return err
	}
	rootPEM, hosts := root.CertificatePEM(), options.hosts(h)
	certPEM, keyPEM := pairIn(have, operationsFolder)
	if paired(certPEM, keyPEM) && chains(string(certPEM), nil, []string{string(rootPEM)}) &&
		bytes.Equal(have[operationsFolder+"/root.pem"], rootPEM) && names(certPEM, hosts) && !options.replaces(certPEM) {
		return nil
	}
	tlsPEM := files[tlsFolder+"/cert.pem"]
	if len(tlsPEM) == 0 {
		tlsPEM = have[tlsFolder+"/cert.pem"]
	}
	tls, err := certificate.ParseOne(firstBlock(tlsPEM))
	if err != nil {
		return fmt.Errorf("unable to read the TLS certificate of %s: %w", h, err)
	}
	pair, err := issueFor(options.keptKey(certPEM, keyPEM), root, certificate.LeafRequest{
		CommonName: h.Host(), Hosts: hosts, Server: true, Validity: time.Until(tls.NotAfter),
	})
	if err != nil {
		return err
	}
	files[operationsFolder+"/root.pem"] = rootPEM
	return putPair(files, operationsFolder, pair)
}

func pairIn(files map[string][]byte, folder string) (certPEM, keyPEM []byte) {
	return files[folder+"/cert.pem"], files[folder+"/key.pem"]
}

// paired tells whether a certificate, which intermediates may follow, is there with its key.
func paired(certPEM, keyPEM []byte) bool {
	_, err := certificate.ParseKeyPair(firstBlock(certPEM), keyPEM)
	return err == nil
}

// certifies tells whether an enrolment certificate is one of the organization today: issued under
// its roots, and not expired.
func certifies(d msp.Definition, certPEM string) bool {
	return chains(certPEM, d.IntermediateCertificates, d.RootCertificates)
}

// chains tells whether a certificate verifies. Of a TLS certificate its own intermediates, which follow
// it, must lead to a root: those who verify the node know the roots only.
func chains(certPEM string, intermediates, roots []string) bool {
	request := certificate.VerifyRequest{Leaf: []byte(certPEM)}
	for _, text := range intermediates {
		request.Intermediates = append(request.Intermediates, []byte(text))
	}
	for _, text := range roots {
		request.Roots = append(request.Roots, []byte(text))
	}
	return certificate.VerifyChain(request) == nil
}

// serves tells whether a certificate with its key is there, has not expired and holds all the hosts.
func serves(certPEM, keyPEM []byte, hosts []string) bool {
	cert, err := certificate.ParseOne(firstBlock(certPEM))
	if err != nil || !paired(certPEM, keyPEM) || time.Now().After(cert.NotAfter) {
		return false
	}
	return !slices.ContainsFunc(hosts, func(host string) bool { return cert.VerifyHostname(host) != nil })
}

// names tells whether a certificate is for exactly these hosts: one that is for more says of the
// node what is no longer so.
func names(certPEM []byte, hosts []string) bool {
	cert, err := certificate.ParseOne(firstBlock(certPEM))
	if err != nil {
		return false
	}
	have := map[string]bool{}
	for _, name := range cert.DNSNames {
		have[name] = true
	}
	for _, ip := range cert.IPAddresses {
		if address, ok := netip.AddrFromSlice(ip); ok {
			have[address.Unmap().String()] = true
		}
	}
	wanted := map[string]bool{}
	for _, host := range hosts {
		if address, err := netip.ParseAddr(host); err == nil {
			host = address.Unmap().String()
		}
		wanted[host] = true
	}
	return maps.Equal(have, wanted)
}

// Stale names those of a node's certificates that its organization does not stand behind any more:
// they have expired, or its CA was made anew. Nothing is stale while that cannot be told.
func (f *Fabric) Stale(ctx context.Context, h Handle, held map[string]string) []string {
	if h.Kind == KindCA {
		return f.staleListener(ctx, h, held)
	}
	org, err := f.organizationKeys(ctx, h.Organization())
	if err != nil {
		return nil
	}
	var stale []string
	if text := held[CertificateEnrollment]; text != "" && !certifies(org.Definition, text) {
		stale = append(stale, CertificateEnrollment)
	}
	root, err := f.operationsRoot(ctx, h)
	if text := held[CertificateOperations]; text != "" && err == nil && !chains(text, nil, []string{string(root.CertificatePEM())}) {
		stale = append(stale, CertificateOperations)
	}
	if text := held[CertificateTLS]; text != "" && !chains(text, nil, org.issuing()) {
		stale = append(stale, CertificateTLS)
	}
	return stale
}

// staleListener is Stale for a CA: its listener has a certificate of its TLS root.
func (f *Fabric) staleListener(ctx context.Context, h Handle, held map[string]string) []string {
	keys, err := f.caKeys(ctx, h)
	if err != nil {
		return nil
	}
	roots, _, err := keys.chain(tlsCA)
	if text := held[CertificateListener]; text == "" || err != nil || chains(text, nil, roots) {
		return nil
	}
	return []string{CertificateListener}
}

// KeepsCertificates tells whether a node's volume has these certificates, by their names. It does while
// that cannot be told.
func (f *Fabric) KeepsCertificates(ctx context.Context, h Handle, held map[string]string) bool {
	for name, file := range certificatesOf(h.Kind) {
		if text := held[name]; text != "" && !f.keeps(ctx, h, keysFolder+"/"+file, hashOf([]byte(text))) {
			return false
		}
	}
	return true
}

// certificatesOf gives the files of a node's certificates below keysFolder, by their names.
func certificatesOf(kind Kind) map[string]string {
	if kind == KindCA {
		return caCertificates
	}
	return memberCertificates
}

// ReadCertificates reads the certificates of a node from its volume, by their names. Those that a
// half-made node lacks are left out.
func (f *Fabric) ReadCertificates(ctx context.Context, h Handle) (map[string]string, error) {
	held := map[string]string{}
	for name, file := range certificatesOf(h.Kind) {
		content, err := f.certificateFile(ctx, h, file)
		if errors.Is(err, engine.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("unable to read the certificates of %s: %w", h, err)
		}
		held[name] = string(content)
	}
	return held, nil
}

// certificateFile reads a certificate of a node by its file; engine.ErrNotFound when it has none.
func (f *Fabric) certificateFile(ctx context.Context, h Handle, file string) ([]byte, error) {
	files, err := f.engine.GetFiles(ctx, h.Object(), keysFolder+"/"+file)
	if err == nil && len(files) == 1 {
		return files[0].Content, nil
	}
	if err == nil {
		err = &engine.NotFoundError{Kind: "file", Name: file}
	}
	if !errors.Is(err, engine.ErrNotFound) {
		return nil, err
	}
	a, failed := f.adoption(ctx, h)
	if failed != nil || a == nil || a.Certificates[file] == "" {
		return nil, errors.Join(err, failed)
	}
	return f.adoptedFile(ctx, a, file)
}

// HasImage tells whether the engine has an image, by its ID.
func (f *Fabric) HasImage(ctx context.Context, id string) (bool, error) {
	_, err := f.engine.ResolveImage(ctx, id)
	if errors.Is(err, engine.ErrNoImage) {
		return false, nil
	}
	return err == nil, err
}
