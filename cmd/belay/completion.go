package main

import "github.com/spf13/cobra"

// completionVerb adds cobra's own verb, and makes it refuse a shell it does not know instead
// of printing help as if all were well.
func completionVerb(a *app, root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" {
			cmd.Example = `  belay completion bash > /etc/bash_completion.d/belay
  belay completion zsh > "${fpath[1]}/_belay"`
			cmd.RunE = run(a, func(*cobra.Command, []string) error {
				return usagef("completion: bash, zsh, fish or powershell is needed")
			})
		}
	}
}
