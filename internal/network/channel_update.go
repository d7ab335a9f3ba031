package network

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/orderer"
)

// configUpdate is a change of the configuration of a running channel.
type configUpdate struct {
	// channel and orderers are handles of the channel and of the ordering nodes that can be asked.
	channel  Handle
	orderers []Handle
	// admins sign: organizations (their admin) or identities. Those whose keys are elsewhere are left out.
	admins []Handle
	// edit changes a copy of the configuration. It is called again when somebody else's update came
	// first, and must be able to find its work done.
	edit func(*configtx.Config) error
}

// UnsignedError tells that the admins whose keys are here do not suffice for an update.
type UnsignedError struct {
	Channel Handle
	// Changes are the parts of the update that lack signatures, in words, and who is missing.
	Changes []string
}

func (e *UnsignedError) Error() string {
	return fmt.Sprintf("the signatures that can be given here do not suffice for %s: %s", e.Channel, strings.Join(e.Changes, "; "))
}

// updateTime is how long an update may take from its submission until the ordering nodes have it,
// an election in between included.
const updateTime = 2 * time.Minute

// updateChannel brings the configuration of a channel to where the edit wants it, and gives the
// configuration in force then. What is already so is success. It is done when every ordering node
// that runs has the config block.
func (f *Fabric) updateChannel(ctx context.Context, u configUpdate) (*configtx.Config, error) {
	// Two updates on one base: the second would be refused, and have to begin again.
	defer f.locks.lock("config of " + u.channel.record())()
	ctx, cancel := context.WithTimeout(ctx, updateTime)
	defer cancel()
	for {
		base, err := f.latestConfig(ctx, u.channel, u.orderers)
		if err != nil {
			return nil, err
		}
		envelope, err := f.signedUpdate(ctx, u, base)
		if errors.Is(err, configtx.ErrNoChange) {
			return base, f.awaitConfig(ctx, u, base)
		}
		if err != nil {
			return nil, err
		}
		if err := f.submitUpdate(ctx, u, base, envelope); err != nil && !errors.Is(err, errBaseMoved) {
			return nil, fmt.Errorf("unable to update the configuration of %s: %w", u.channel, err)
		}
	}
}

// signedUpdate computes the update from the base, and signs it with every admin at hand.
func (f *Fabric) signedUpdate(ctx context.Context, u configUpdate, base *configtx.Config) (*common.Envelope, error) {
	wanted := base.Clone()
	if err := u.edit(wanted); err != nil {
		return nil, err
	}
	update, err := configtx.ComputeUpdate(u.channel.Name, base.Proto, wanted.Proto)
	if err != nil {
		return nil, err
	}
	if err := configtx.ValidateUpdate(base, wanted); err != nil {
		return nil, err
	}
	admins, err := f.signers(ctx, u.admins)
	if err != nil {
		return nil, err
	}
	if err := requireSignatures(u.channel, base, update, admins); err != nil {
		return nil, err
	}
	return signUpdate(base, update, admins)
}

// signers gives the admins whose keys are on this engine.
func (f *Fabric) signers(ctx context.Context, admins []Handle) ([]*msp.Identity, error) {
	var out []*msp.Identity
	for _, h := range admins {
		admin, err := f.identity(ctx, h)
		switch {
		case errors.Is(err, ErrNotFound) || errors.Is(err, ErrLost): // a partner's, or one that is gone
		case err != nil:
			return nil, fmt.Errorf("unable to sign as %s: %w", h, err)
		case !slices.ContainsFunc(out, func(other *msp.Identity) bool { return string(other.CertificatePEM) == string(admin.CertificatePEM) }):
			out = append(out, admin)
		}
	}
	return out, nil
}

// AbleToSign gives those of some admins whose keys are on this engine.
func (f *Fabric) AbleToSign(ctx context.Context, admins []Handle) []Handle {
	return slices.DeleteFunc(slices.Clone(admins), func(h Handle) bool {
		_, err := f.identity(ctx, h)
		return err != nil
	})
}

// obligation is a policy that an update must meet, with what falls under it in words.
type obligation struct {
	configtx.Requirement
	words string
}

// obligations says what an update changes, by the policies that it must meet.
func obligations(base *configtx.Config, update *common.ConfigUpdate) ([]obligation, error) {
	requirements, err := configtx.Requirements(base, update)
	if err != nil {
		return nil, err
	}
	changes, err := configtx.Changes(base, update)
	if err != nil {
		return nil, err
	}
	words := map[string][]string{}
	for _, c := range changes {
		words[c.ModPolicy] = append(words[c.ModPolicy], c.Words)
	}
	var out []obligation
	for _, r := range requirements {
		out = append(out, obligation{Requirement: r, words: strings.Join(words[r.Policy], ", ")})
	}
	return out, nil
}

// requireSignatures fails with *UnsignedError when Fabric would refuse the update for want of signatures.
func requireSignatures(channel Handle, base *configtx.Config, update *common.ConfigUpdate, admins []*msp.Identity) error {
	duties, err := obligations(base, update)
	if err != nil {
		return err
	}
	signers := make([]configtx.Signer, 0, len(admins))
	for _, admin := range admins {
		signers = append(signers, configtx.Signer{MSPID: admin.ID, CertificatePEM: string(admin.CertificatePEM)})
	}
	return requireSigned(channel, duties, signers)
}

// requireSigned fails with *UnsignedError when the signers do not suffice.
func requireSigned(channel Handle, duties []obligation, signers []configtx.Signer) error {
	unsigned := &UnsignedError{Channel: channel}
	for _, d := range duties {
		if d.Met(signers) == configtx.No {
			unsigned.Changes = append(unsigned.Changes, d.missing(signers))
		}
	}
	if len(unsigned.Changes) > 0 {
		return unsigned
	}
	return nil
}

// missing says who has yet to sign what.
func (d obligation) missing(signers []configtx.Signer) string {
	return fmt.Sprintf("%s falls under %s (%s), which wants %s", d.words, d.Policy, d.Rule, strings.Join(d.Missing(signers), " and "))
}

// signUpdate puts the signatures of all admins on the update; the first one that may submits it.
func signUpdate(base *configtx.Config, update *common.ConfigUpdate, admins []*msp.Identity) (*common.Envelope, error) {
	raw, err := configtx.MarshalUpdate(update)
	if err != nil {
		return nil, err
	}
	var signatures []*common.ConfigSignature
	var submitter *msp.Identity
	refused := errors.New("no admin of the channel's organizations has its key here")
	for _, admin := range admins {
		signature, err := configtx.SignUpdate(raw, admin)
		if err != nil {
			return nil, err
		}
		signatures = append(signatures, signature)
		if submitter != nil {
			continue
		}
		answer, err := configtx.CanSubmit(base, configtx.Signer{MSPID: admin.ID, CertificatePEM: string(admin.CertificatePEM)}, time.Now())
		if answer == configtx.No {
			refused = err
			continue
		}
		submitter = admin
	}
	if submitter == nil {
		return nil, fmt.Errorf("nobody can submit the update: %w", refused)
	}
	return configtx.UpdateEnvelope(base.Channel, raw, signatures, submitter)
}

// errBaseMoved: another update came between.
var errBaseMoved = errors.New("the configuration of the channel has changed meanwhile")

// orderPatience is how long an update that was taken may be in no block before it is submitted again:
// longer than an election with default timers, which begins within 9.5 s. The ordering node that took it
// may have lost it, with the leader that it was handed to; of two that are the same, a channel takes one.
const orderPatience = 12 * time.Second

// submitUpdate submits the update to the ordering nodes until the configuration has moved on from its base.
// Whose update that was is seen by whoever looks next.
func (f *Fabric) submitUpdate(ctx context.Context, u configUpdate, base *configtx.Config, envelope *common.Envelope) error {
	summary, err := configtx.Summarize(base)
	if err != nil {
		return err
	}
	submit := f.submitInTurn(u.orderers, envelope)
	if summary.ConsensusType == configtx.ConsensusBFT {
		submit = f.submitToAll(u.orderers, envelope)
	}
	for {
		if err := f.broadcastUpdate(ctx, u, base, submit); err != nil {
			return err
		}
		if err := f.awaitOrdered(ctx, u, base); err == nil || ctx.Err() != nil {
			return err
		}
	}
}

// awaitOrdered waits for a while until the configuration has moved on from a base.
func (f *Fabric) awaitOrdered(ctx context.Context, u configUpdate, base *configtx.Config) error {
	ctx, cancel := context.WithTimeout(ctx, f.orderPatience)
	defer cancel()
	return poll(ctx, func(ctx context.Context) error {
		now, err := f.latestConfig(ctx, u.channel, u.orderers)
		if err == nil && now.Sequence() == base.Sequence() {
			err = errors.New("the update was taken and is not in a block yet")
		}
		return err
	})
}

// broadcastUpdate submits the update until it is taken.
func (f *Fabric) broadcastUpdate(ctx context.Context, u configUpdate, base *configtx.Config, submit func(context.Context) error) error {
	return poll(ctx, func(ctx context.Context) error {
		err := submit(ctx)
		if status := new(orderer.StatusError); errors.As(err, &status) && !status.Transient() {
			if now, lookErr := f.latestConfig(ctx, u.channel, u.orderers); lookErr == nil && now.Sequence() != base.Sequence() {
				return permanent(errBaseMoved) // it may have been taken at the first attempt, whose answer was lost
			}
			return permanent(err)
		}
		return err
	})
}

// submitInTurn gives an envelope to the next ordering node each time.
func (f *Fabric) submitInTurn(orderers []Handle, envelope *common.Envelope) func(context.Context) error {
	turn := 0
	return func(ctx context.Context) error {
		o := orderers[turn%len(orderers)]
		turn++
		return f.broadcast(ctx, o, envelope)
	}
}

// submitToAll gives an envelope to every ordering node at once, and is content when one took it that is
// not among those which SmartBFT lets fail. A node that does not lead would forward it only after
// request_forward_timeout, and one that lies never.
func (f *Fabric) submitToAll(orderers []Handle, envelope *common.Envelope) func(context.Context) error {
	return func(ctx context.Context) error {
		answers := make([]error, len(orderers))
		var calls sync.WaitGroup
		for i, o := range orderers {
			calls.Go(func() { answers[i] = f.broadcast(ctx, o, envelope) })
		}
		calls.Wait()
		took := 0
		for _, err := range answers {
			if err == nil {
				took++
			}
		}
		if took > (len(orderers)-1)/3 {
			return nil
		}
		return errors.Join(answers...)
	}
}

func (f *Fabric) broadcast(ctx context.Context, o Handle, envelope *common.Envelope) error {
	conn, err := f.grpcConn(ctx, o, ordererPort)
	if err != nil {
		return err
	}
	return orderer.Broadcast(ctx, conn, envelope)
}

// latestConfig asks all ordering nodes for the configuration and gives the latest one.
func (f *Fabric) latestConfig(ctx context.Context, channel Handle, orderers []Handle) (*configtx.Config, error) {
	configs, failures := f.configs(ctx, channel, orderers)
	var latest *configtx.Config
	for _, config := range configs {
		if latest == nil || config != nil && config.Sequence() > latest.Sequence() {
			latest = config
		}
	}
	if latest == nil {
		return nil, &UnansweredError{Thing: channel, Cause: failures}
	}
	return latest, nil
}

// configs asks nodes for the configuration of a channel, all at once. Answers are in the order of
// the nodes, nil for those that gave none; failures are joined.
func (f *Fabric) configs(ctx context.Context, channel Handle, nodes []Handle) ([]*configtx.Config, error) {
	configs, errs := make([]*configtx.Config, len(nodes)), make([]error, len(nodes))
	var calls sync.WaitGroup
	for i, h := range nodes {
		calls.Go(func() {
			running, err := f.running(ctx, h)
			if err == nil && !running {
				err = errNotRunning
			}
			if err == nil {
				configs[i], err = f.config(ctx, h, channel.Name)
			}
			if err != nil {
				errs[i] = fmt.Errorf("%s: %w", h, err)
			}
		})
	}
	calls.Wait()
	return configs, errors.Join(errs...)
}

// config fetches the configuration in force from a node.
func (f *Fabric) config(ctx context.Context, h Handle, channel string) (*configtx.Config, error) {
	block, err := f.configBlock(ctx, h, channel)
	if err != nil {
		return nil, err
	}
	return configtx.Decode(block)
}

// awaitConfig waits until every ordering node that runs and has the channel has this configuration. With
// SmartBFT as many may lack it as may fail: one that was restarted gets it when it notices.
func (f *Fabric) awaitConfig(ctx context.Context, u configUpdate, config *configtx.Config) error {
	summary, err := configtx.Summarize(config)
	if err != nil {
		return err
	}
	bear := 0
	if summary.ConsensusType == configtx.ConsensusBFT {
		bear = (len(summary.Consenters) - 1) / 3
	}
	return poll(ctx, func(ctx context.Context) error {
		configs, _ := f.configs(ctx, u.channel, u.orderers) // nodes that do not answer get it when they can
		var lack []error
		for i, has := range configs {
			if has != nil && has.Sequence() < config.Sequence() {
				lack = append(lack, fmt.Errorf("%s has configuration %d of %d", u.orderers[i], has.Sequence(), config.Sequence()))
			}
		}
		if len(lack) > bear {
			return errors.Join(lack...)
		}
		return nil
	})
}
