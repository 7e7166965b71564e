package main

import (
	"context"
	"errors"
	"time"

	cri "k8s.io/cri-client/pkg"
)

// removePods stops and removes every pod through the container runtime, so that
// network namespaces, addresses and mounts are given back. The kubelet must have
// ended before. Arguments: the runtime's endpoint.
func removePods(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: remove-pods ENDPOINT")
	}
	ctx := context.Background()
	runtime, err := cri.NewRemoteRuntimeService(args[0], 20*time.Second, nil, nil)
	if err != nil {
		return err
	}
	var failed []error
	containers, err := runtime.ListContainers(ctx, nil)
	failed = append(failed, err)
	for _, c := range containers {
		failed = append(failed, runtime.StopContainer(ctx, c.Id, 0))
	}
	sandboxes, err := runtime.ListPodSandbox(ctx, nil)
	failed = append(failed, err)
	for _, s := range sandboxes {
		failed = append(failed, runtime.StopPodSandbox(ctx, s.Id), runtime.RemovePodSandbox(ctx, s.Id))
	}
	return errors.Join(failed...)
}
