//go:build !failpoints

package main

import "github.com/spf13/cobra"

// testCommands are those that only a program for tests has.
func (m *Main) testCommands() []*cobra.Command { return nil }
