// Command kubernetes is a whole small Kubernetes in one static file, for the
// tests of lasthop. The name it is called by picks the component, as busybox
// does it; scripts/cluster makes one symbolic link a component.
//
// Nothing of Kubernetes is copied here: each component is the command that its
// published module exports, at the version which go.mod pins.
package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	_ "time/tzdata" // a CronJob may name a time zone, and the machine may have none

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// component runs with os.Args already its own and returns the exit status.
type component func() int

var components = map[string]component{
	"etcd":                    etcd,
	"kube-apiserver":          command(apiserver.NewAPIServerCommand),
	"kube-controller-manager": command(controllermanager.NewControllerManagerCommand),
	"kube-proxy":              command(proxy.NewProxyCommand),
	"kube-scheduler":          command(func() *cobra.Command { return scheduler.NewSchedulerCommand() }),
	"kubectl":                 kubectlCommand,
	"kubelet":                 command(func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) }),
}

// command delays the constructor until its component is the one to run: the
// constructors register flags and feature gates of the whole process, and two
// of them in one process do not get on.
func command(construct func() *cobra.Command) component {
	return func() int { return cli.Run(construct()) }
}

// kubectl words its errors for a person; cli.Run would print them a second time.
func kubectlCommand() int {
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func etcd() int {
	etcdmain.Main(os.Args)
	return 0
}

func main() {
	run, known := components[filepath.Base(os.Args[0])]
	if !known && len(os.Args) > 1 { // not through a link: "kubernetes kubelet ..."
		os.Args = os.Args[1:]
		run, known = components[os.Args[0]]
	}
	if !known {
		names := slices.Sorted(maps.Keys(components))
		fmt.Fprintln(os.Stderr, "usage: kubernetes COMPONENT [ARGUMENT...], where COMPONENT is one of", strings.Join(names, ", "))
		os.Exit(2)
	}
	os.Exit(run())
}
