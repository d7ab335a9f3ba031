package configtx

import (
	"errors"
	"slices"
)

// Revise gives the configuration with what a channel's owner says replaced by what the Channel says: the
// channel and application capability, the application organizations with their definitions and anchor
// peers (added, updated, removed), the batch, the ACLs and the application policies. What belongs to the
// ordering cluster stays: the orderer capability, the orderer organizations with their endpoints, the
// consenters and their options; and so do the policies of the other groups.
//
// As in a new channel, fields of the Channel that are zero take their defaults. Policies of an existing
// organization stay unless they are named. The orderer parts of the Channel may be empty. base is not
// changed; ValidateUpdate says what Fabric would refuse.
func Revise(base *Config, c Channel) (*Config, error) {
	c = c.withDefaults()
	to := base.Clone()
	err := errors.Join(
		to.SetChannelCapability(c.ChannelCapability),
		to.SetApplicationCapability(c.ApplicationCapability),
		to.SetBatch(c.Batch),
		to.SetACLs(c.ACLs),
		to.SetApplicationPolicies(c.ApplicationPolicies),
		to.setMembers(c.ApplicationOrganizations),
	)
	if err != nil {
		return nil, err
	}
	return to, nil
}

// setMembers makes these the application organizations of the channel.
func (c *Config) setMembers(wanted []ApplicationOrganization) error {
	group, err := c.group(groupApplication)
	if err != nil {
		return c.cannot("set the organizations", err)
	}
	r := &reader{}
	for _, o := range r.organizations(group) {
		if !slices.ContainsFunc(wanted, func(w ApplicationOrganization) bool { return w.Definition.ID == o.Definition.ID }) {
			delete(group.GetGroups(), o.Name)
		}
	}
	if r.err != nil {
		return c.cannot("set the organizations", r.err)
	}
	for _, o := range wanted {
		if err := c.SetApplicationOrganization(o); err != nil {
			return err
		}
	}
	return nil
}
