package network

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// ChannelAccess is how a channel is reached whose configuration several organizations change together.
type ChannelAccess struct {
	// Channel is of kind channel, for one of ours, or channel_membership; zero when Orderers are given.
	Channel Handle
	// Name is the channel's, Orderers are ordering nodes that run elsewhere, and Organization is ours
	// whose admin asks them.
	Name         string
	Orderers     map[string]RemoteOrderer
	Organization Handle
}

// reach gives the channel and the ordering nodes that can be asked.
func (f *Fabric) reach(ctx context.Context, a ChannelAccess) (channel Handle, orderers []Handle, err error) {
	switch a.Channel.Kind {
	case KindChannel:
		record, err := f.channelRecord(ctx, a.Channel)
		if err != nil {
			return a.Channel, nil, err
		}
		orderers, err = f.Orderers(ctx, record.Orderers)
		return a.Channel, orderers, err
	case KindChannelMembership:
		record, err := f.membershipRecord(ctx, a.Channel)
		return a.Channel.channel(), record.orderers(), err
	}
	return a.Organization.With(KindChannel, a.Name, ""), remoteOrderers(a.Organization, a.Orderers), nil
}

// ChannelChange is a change of a channel's configuration, as somebody proposes it to the others. What is
// zero stays as it is.
type ChannelChange struct {
	Batch                                    configtx.Batch
	ChannelCapability, ApplicationCapability string
	// ACLs and ApplicationPolicies are added to those that the channel has, or replace them.
	ACLs, ApplicationPolicies map[string]string
	// SetOrganizations become members, or get these definitions if they are; RemoveOrganizations are MSP IDs.
	SetOrganizations    []msp.Definition
	RemoveOrganizations []string
	// SetOrdererOrganizations become organizations that run ordering nodes, or get these definitions and
	// endpoints if they are.
	SetOrdererOrganizations    []configtx.OrdererOrganization
	RemoveOrdererOrganizations []string
	// OrdererEndpoints are those of orderer organizations by MSP ID.
	OrdererEndpoints map[string][]string
	// AddConsenter and RemoveConsenter change who orders: Raft takes one at a time.
	AddConsenter    *configtx.Consenter
	RemoveConsenter *configtx.Address
}

// apply makes the change in a configuration.
func (c ChannelChange) apply(config *configtx.Config) error {
	summary, err := configtx.Summarize(config)
	if err != nil {
		return err
	}
	// An organization comes before the consenter that it runs, and a consenter goes before its organization.
	steps := []func() error{
		func() error { return config.SetBatch(c.Batch) },
		func() error { return c.organizations(config, summary) },
		func() error { return c.ordering(config) },
		func() error { return c.rules(config, summary) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (c ChannelChange) organizations(config *configtx.Config, summary configtx.Summary) error {
	for _, d := range c.SetOrganizations {
		member := func(o configtx.OrganizationSummary) bool { return o.Definition.ID == d.ID }
		set := func() error {
			return config.SetApplicationOrganization(configtx.ApplicationOrganization{Definition: d})
		}
		if slices.ContainsFunc(summary.ApplicationOrganizations, member) { // its anchor peers are its own
			set = func() error { return config.SetDefinition(d) }
		}
		if err := set(); err != nil {
			return err
		}
	}
	for _, id := range c.RemoveOrganizations {
		if err := config.RemoveApplicationOrganization(id); err != nil {
			return err
		}
	}
	return nil
}

func (c ChannelChange) ordering(config *configtx.Config) error {
	for _, o := range c.SetOrdererOrganizations {
		if err := config.SetOrdererOrganization(o); err != nil {
			return err
		}
	}
	if c.AddConsenter != nil {
		if err := config.AddConsenter(*c.AddConsenter); err != nil {
			return err
		}
	}
	if c.RemoveConsenter != nil {
		if err := config.RemoveConsenter(*c.RemoveConsenter); err != nil {
			return err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.OrdererEndpoints)) {
		if err := config.SetEndpoints(id, c.OrdererEndpoints[id]); err != nil {
			return err
		}
	}
	for _, id := range c.RemoveOrdererOrganizations {
		if err := config.RemoveOrdererOrganization(id); err != nil {
			return err
		}
	}
	return nil
}

// rules changes policies, ACLs and capabilities.
func (c ChannelChange) rules(config *configtx.Config, summary configtx.Summary) error {
	added := func(have, more map[string]string) map[string]string {
		out := map[string]string{}
		maps.Copy(out, have)
		maps.Copy(out, more)
		return out
	}
	var failed []error
	if len(c.ApplicationPolicies) > 0 {
		failed = append(failed, config.SetApplicationPolicies(added(summary.ApplicationPolicies, c.ApplicationPolicies)))
	}
	if len(c.ACLs) > 0 {
		failed = append(failed, config.SetACLs(added(summary.ACLs, c.ACLs)))
	}
	if c.ApplicationCapability != "" {
		failed = append(failed, config.SetApplicationCapability(c.ApplicationCapability))
	}
	if c.ChannelCapability != "" {
		failed = append(failed, config.SetChannelCapability(c.ChannelCapability))
	}
	return errors.Join(failed...)
}

// Proposal is a config update to be handed between organizations.
type Proposal struct {
	// Update are the exact bytes that are signed, a marshalled common.ConfigUpdate.
	Update []byte
	// Base is the sequence of the configuration that it was made for.
	Base uint64
	// Changes say what it changes, Required which policies it falls under and who must sign.
	Changes, Required []string
}

// ChangeError tells that a change does not fit the configuration that a channel has, whoever signs it.
type ChangeError struct{ Cause error }

func (e *ChangeError) Error() string { return e.Cause.Error() }
func (e *ChangeError) Unwrap() error { return e.Cause }

// Propose makes an update of a channel's configuration that expires. It fails with *ChangeError for a
// change that does not fit, which wraps configtx.ErrNoChange when the channel is so already.
func (f *Fabric) Propose(ctx context.Context, access ChannelAccess, change ChannelChange, expires time.Time) (Proposal, error) {
	channel, orderers, err := f.reach(ctx, access)
	if err != nil {
		return Proposal{}, err
	}
	base, err := f.currentConfig(ctx, channel, orderers)
	if err != nil {
		return Proposal{}, err
	}
	proposal, err := change.proposeOn(base, expires)
	if err != nil {
		return Proposal{}, &ChangeError{err}
	}
	return proposal, nil
}

func (c ChannelChange) proposeOn(base *configtx.Config, expires time.Time) (Proposal, error) {
	wanted := base.Clone()
	if err := c.apply(wanted); err != nil {
		return Proposal{}, err
	}
	if err := configtx.ValidateUpdate(base, wanted); err != nil {
		return Proposal{}, err
	}
	update, err := configtx.Propose(base, wanted, expires)
	if err != nil {
		return Proposal{}, err
	}
	raw, err := configtx.MarshalUpdate(update)
	if err != nil {
		return Proposal{}, err
	}
	return describe(base, raw, update)
}

// Update is a config update as it is handed between organizations, with what its bytes tell by themselves.
type Update struct {
	// Raw are the exact bytes, a marshalled common.ConfigUpdate; Digest is their SHA-256 in hexadecimal.
	Raw     []byte
	Digest  string
	Channel string
	// Writes say what it writes (configtx.Writes).
	Writes []string
	// Terms are nil for an update that another tool made.
	Terms *configtx.Terms

	parsed *common.ConfigUpdate
}

// ReadUpdate reads an update.
func ReadUpdate(raw []byte) (Update, error) {
	parsed, err := configtx.ParseUpdate(raw)
	if err != nil {
		return Update{}, err
	}
	sum := sha256.Sum256(raw)
	u := Update{Raw: raw, Digest: hex.EncodeToString(sum[:]), Channel: parsed.GetChannelId(), parsed: parsed}
	if terms, ok := configtx.TermsOf(parsed); ok {
		u.Terms = &terms
	}
	u.Writes, err = configtx.Writes(parsed)
	return u, err
}

// ExpiredError tells that an update is no longer to be signed or submitted.
type ExpiredError struct{ At time.Time }

func (e *ExpiredError) Error() string {
	return "the update expired at " + e.At.UTC().Format(time.RFC3339)
}

// RefuseExpired fails with *ExpiredError for an update that has expired. One that another tool made
// never does.
func (u Update) RefuseExpired() error {
	if u.Terms != nil && time.Now().After(u.Terms.Expires) {
		return &ExpiredError{At: u.Terms.Expires}
	}
	return nil
}

func (u Update) requireChannel(channel Handle) error {
	if u.Channel != channel.Name {
		return fmt.Errorf("the update is one of channel %s, and not of channel %s", u.Channel, channel.Name)
	}
	return nil
}

// Examine says what an update changes that was made elsewhere. Its errors are those of Propose.
func (f *Fabric) Examine(ctx context.Context, access ChannelAccess, u Update) (Proposal, error) {
	channel, orderers, err := f.reach(ctx, access)
	if err != nil {
		return Proposal{}, err
	}
	if err := u.requireChannel(channel); err != nil {
		return Proposal{}, &ChangeError{err}
	}
	base, err := f.currentConfig(ctx, channel, orderers)
	if err != nil {
		return Proposal{}, err
	}
	proposal, err := u.examineOn(base)
	if err != nil {
		return Proposal{}, &ChangeError{err}
	}
	return proposal, nil
}

func (u Update) examineOn(base *configtx.Config) (Proposal, error) {
	wanted, err := configtx.Apply(base, u.parsed)
	if err != nil {
		return Proposal{}, err
	}
	if err := configtx.ValidateUpdate(base, wanted); err != nil {
		return Proposal{}, err
	}
	return describe(base, u.Raw, u.parsed)
}

func describe(base *configtx.Config, raw []byte, update *common.ConfigUpdate) (Proposal, error) {
	proposal := Proposal{Update: raw, Base: base.Sequence()}
	changes, err := configtx.Changes(base, update)
	if err != nil {
		return proposal, err
	}
	for _, c := range changes {
		if c.ModPolicy != "" { // what is new inside something new goes with it
			proposal.Changes = append(proposal.Changes, c.Words)
		}
	}
	duties, err := obligations(base, update)
	if err != nil {
		return proposal, err
	}
	for _, d := range duties {
		proposal.Required = append(proposal.Required, d.missing(nil))
	}
	return proposal, nil
}

// SignProposal has the admin of an organization sign the exact bytes of an update that still fits the
// channel, and gives the signature, a marshalled common.ConfigSignature. Its error wraps
// configtx.ErrOutdated for one that does not.
func (f *Fabric) SignProposal(ctx context.Context, access ChannelAccess, org Handle, u Update) ([]byte, error) {
	channel, orderers, err := f.reach(ctx, access)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(u.requireChannel(channel), u.RefuseExpired()); err != nil {
		return nil, err
	}
	base, err := f.currentConfig(ctx, channel, orderers)
	if err != nil {
		return nil, err
	}
	if _, err := configtx.Requirements(base, u.parsed); err != nil {
		return nil, err
	}
	admin, err := f.identity(ctx, org)
	if err != nil {
		return nil, err
	}
	signature, err := configtx.SignUpdate(u.Raw, admin)
	if err != nil {
		return nil, err
	}
	return proto.Marshal(signature)
}

// SignatureError tells which of several signatures is none of the update.
type SignatureError struct {
	Name  string
	Cause error
}

func (e *SignatureError) Error() string {
	return fmt.Sprintf("the signature of %s: %v", e.Name, e.Cause)
}

func (e *SignatureError) Unwrap() error { return e.Cause }

// VerifySignatures reads signatures and checks each against the bytes of the update. It fails with a
// *SignatureError for each that does not fit.
func VerifySignatures(raw []byte, signatures map[string][]byte) ([]*common.ConfigSignature, error) {
	var out []*common.ConfigSignature
	var failed []error
	for _, name := range slices.Sorted(maps.Keys(signatures)) {
		signature, err := configtx.ParseSignature(signatures[name])
		if err == nil {
			_, err = configtx.VerifySignature(raw, signature, "")
		}
		if err != nil {
			failed = append(failed, &SignatureError{Name: name, Cause: err})
		}
		out = append(out, signature)
	}
	return out, errors.Join(failed...)
}

// Submitted tells when an update came into force.
type Submitted struct{ Block, Sequence uint64 }

// SubmitProposal submits an update with the signatures of several organizations. The admin of org
// submits it, and signs it too. An update that is in force, or was at some time, is success.
func (f *Fabric) SubmitProposal(ctx context.Context, access ChannelAccess, org Handle, u Update, given map[string][]byte) (Submitted, error) {
	channel, orderers, err := f.reach(ctx, access)
	if err != nil {
		return Submitted{}, err
	}
	signed, err := f.signedBy(ctx, channel, org, u, given)
	if err != nil {
		return Submitted{}, err
	}
	// Two updates on one base: the second would be refused.
	defer f.locks.lock("config of " + channel.record())()
	to := configUpdate{channel: channel, orderers: orderers}
	for {
		base, err := f.currentConfig(ctx, channel, orderers)
		if err != nil {
			return Submitted{}, err
		}
		envelope, err := signed.envelope(base)
		if errors.Is(err, configtx.ErrOutdated) {
			return f.inForce(ctx, to, base, signed.Update, err)
		}
		if err != nil {
			return Submitted{}, err
		}
		if err := f.submitUpdate(ctx, to, base, envelope); err != nil && !errors.Is(err, errBaseMoved) {
			return Submitted{}, err
		}
	}
}

// signedProposal is an update with all the signatures that it is submitted with.
type signedProposal struct {
	Update
	channel    Handle
	signatures []*common.ConfigSignature
	signers    []configtx.Signer
	submitter  *msp.Identity
}

// signedBy verifies the signatures that were given, and adds that of the submitter.
func (f *Fabric) signedBy(ctx context.Context, channel, org Handle, u Update, given map[string][]byte) (signedProposal, error) {
	p := signedProposal{Update: u, channel: channel}
	if err := u.requireChannel(channel); err != nil {
		return p, err
	}
	var err error
	if p.signatures, err = VerifySignatures(u.Raw, given); err != nil {
		return p, err
	}
	if p.submitter, err = f.identity(ctx, org); err != nil {
		return p, err
	}
	own, err := configtx.SignUpdate(u.Raw, p.submitter)
	if err != nil {
		return p, err
	}
	p.signatures = append(p.signatures, own)
	for _, s := range p.signatures {
		signer, err := configtx.SignerOf(s)
		if err != nil {
			return p, err
		}
		p.signers = append(p.signers, signer)
	}
	return p, nil
}

// envelope gives what is sent, if the update fits the channel and the ordering nodes would take it.
func (p signedProposal) envelope(base *configtx.Config) (*common.Envelope, error) {
	duties, err := obligations(base, p.parsed)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(p.RefuseExpired(), requireSigned(p.channel, duties, p.signers)); err != nil {
		return nil, err
	}
	submitter := configtx.Signer{MSPID: p.submitter.ID, CertificatePEM: string(p.submitter.CertificatePEM)}
	if answer, err := configtx.CanSubmit(base, submitter, time.Now()); answer == configtx.No {
		return nil, err
	}
	return configtx.UpdateEnvelope(p.channel.Name, p.Raw, p.signatures, p.submitter)
}

// maxLookBack is how many config blocks are looked through for an update that does not say when it was made.
const maxLookBack = 100

// inForce tells when an update came into force, and waits until every ordering node that answers has
// that. For one that never did it fails with outdated, which says why it does not fit any more.
func (f *Fabric) inForce(ctx context.Context, to configUpdate, base *configtx.Config, u Update, outdated error) (Submitted, error) {
	oldest := base.Sequence() - min(base.Sequence(), maxLookBack)
	if u.Terms != nil {
		oldest = u.Terms.Sequence
	}
	var failed []error
	for _, o := range to.orderers {
		config, err := f.madeBy(ctx, o, u.Channel, base.Block, u.Raw, oldest)
		switch {
		case err != nil:
			failed = append(failed, fmt.Errorf("%s: %w", o, err))
			continue
		case config == nil:
			return Submitted{}, outdated
		}
		return Submitted{Block: config.Block, Sequence: config.Sequence()}, f.awaitConfig(ctx, to, config)
	}
	return Submitted{}, &UnansweredError{Thing: to.channel, Cause: errors.Join(failed...)}
}

// madeBy looks for the configuration that an update made, from a config block back to the configuration
// of that sequence. It is nil when there is none.
func (f *Fabric) madeBy(ctx context.Context, o Handle, channel string, number uint64, raw []byte, oldest uint64) (*configtx.Config, error) {
	for {
		block, err := f.blockOf(ctx, o, channel, number)
		if err != nil {
			return nil, err
		}
		config, err := configtx.Decode(block)
		if err != nil {
			return nil, err
		}
		if config.Sequence() <= oldest || number == 0 {
			return nil, nil
		}
		update, err := configtx.UpdateOf(block)
		if err != nil {
			return nil, err
		}
		if string(update) == string(raw) {
			return config, nil
		}
		before, err := f.blockOf(ctx, o, channel, number-1)
		if err != nil {
			return nil, err
		}
		if number, err = configtx.LastConfigIndex(before); err != nil {
			return nil, err
		}
	}
}
