package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// networkPolicy stands in for a network plugin that enforces NetworkPolicy. It
// watches policies, pods and namespaces and gives every node the same iptables
// rules, in table mangle, whose chains INPUT and FORWARD belong to it.
//
// The CNI plugin beside it reports each new pod's address here and waits, so no
// container starts before its pod's rules stand. Connections that are open stay
// open. IPv4 only. CoreDNS is no pod in this cluster: an egress rule for port 53
// always admits it.
//
// Arguments: kubeconfig, socket for the CNI plugin, CoreDNS's address, the
// network namespaces of the nodes as glob patterns.
func networkPolicy(args []string) error {
	if len(args) < 4 {
		return errors.New("usage: network-policy KUBECONFIG SOCKET DNS-ADDRESS NETNS-PATTERN...")
	}
	config, err := clientcmd.BuildConfigFromFlags("", args[0])
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	e := &enforcer{
		dns:      args[2],
		netns:    args[3:],
		reported: map[string]string{},
		wake:     make(chan struct{}, 1),
		pods:     factory.Core().V1().Pods().Informer(),
		spaces:   factory.Core().V1().Namespaces().Informer(),
		policies: factory.Networking().V1().NetworkPolicies().Informer(),
	}
	changed := func() {
		select {
		case e.wake <- struct{}{}:
		default:
		}
	}
	for _, i := range []cache.SharedIndexInformer{e.pods, e.spaces, e.policies} {
		_, err := i.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { changed() },
			UpdateFunc: func(_, _ any) { changed() },
			DeleteFunc: func(any) { changed() },
		})
		if err != nil {
			return err
		}
	}
	factory.Start(context.Background().Done())
	factory.WaitForCacheSync(context.Background().Done())
	if err := e.apply(); err != nil {
		return err
	}
	_ = os.Remove(args[1])
	listener, err := net.Listen("unix", args[1])
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(listener, http.HandlerFunc(e.report)) }()
	for {
		select {
		case <-e.wake:
			time.Sleep(20 * time.Millisecond) // several changes at once, one load
		case <-time.After(10 * time.Second):
			e.forget() // a node may have joined, or rules may have been flushed
		}
		if err := e.apply(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
}

type enforcer struct {
	dns                    string
	netns                  []string
	wake                   chan struct{}
	pods, spaces, policies cache.SharedIndexInformer

	mu       sync.Mutex
	reported map[string]string // "namespace/pod" -> address, until the pod's status has it
	loaded   string
}

// report serves the CNI plugin: /NAMESPACE/POD/ADDRESS, answered when the rules stand.
func (e *enforcer) report(w http.ResponseWriter, r *http.Request) {
	part := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if len(part) != 3 || net.ParseIP(part[2]) == nil {
		http.Error(w, "want /NAMESPACE/POD/ADDRESS", http.StatusBadRequest)
		return
	}
	key := part[0] + "/" + part[1]
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if _, found, _ := e.pods.GetStore().GetByKey(key); found {
			break
		}
	}
	e.mu.Lock()
	e.reported[key] = part[2]
	e.mu.Unlock()
	if err := e.apply(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func (e *enforcer) forget() {
	e.mu.Lock()
	e.loaded = ""
	e.mu.Unlock()
}

// apply loads the rules into every node if they changed.
func (e *enforcer) apply() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	rules := e.rules()
	if rules == e.loaded {
		return nil
	}
	var nodes []string
	for _, pattern := range e.netns {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		nodes = append(nodes, found...)
	}
	for _, node := range nodes {
		load := exec.Command("nsenter", "--net="+node, "iptables-restore", "--wait", "--noflush")
		load.Stdin = strings.NewReader(rules)
		if out, err := load.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %v: %s\n%s", node, err, out, rules)
		}
	}
	e.loaded = rules
	return nil
}

type pod struct {
	*core.Pod
	address string
}

// rules writes what iptables-restore reads: for each direction first what is
// allowed, then a drop for each pod that any policy of that direction selects.
func (e *enforcer) rules() string {
	pods := e.addressed()
	var in, out, dropIn, dropOut []string
	for _, o := range e.policies.GetStore().List() {
		policy := o.(*networking.NetworkPolicy)
		selector := selectorOf(&policy.Spec.PodSelector)
		for _, p := range pods {
			if p.Namespace != policy.Namespace || !selector.Matches(labels.Set(p.Labels)) {
				continue
			}
			if slices.Contains(policy.Spec.PolicyTypes, networking.PolicyTypeIngress) {
				dropIn = append(dropIn, "-A NP-IN -d "+p.address+" -j DROP")
				for _, rule := range policy.Spec.Ingress {
					for _, peer := range e.peers(rule.From, policy.Namespace, pods) {
						for _, match := range matches(rule.Ports, p.Pod) {
							in = append(in, "-A NP-IN -d "+p.address+" -s "+peer.address+match+" -j RETURN")
						}
					}
				}
			}
			if slices.Contains(policy.Spec.PolicyTypes, networking.PolicyTypeEgress) {
				dropOut = append(dropOut, "-A NP-OUT -s "+p.address+" -j DROP")
				for _, rule := range policy.Spec.Egress {
					for _, peer := range e.peers(rule.To, policy.Namespace, pods) {
						for _, match := range matches(rule.Ports, peer.Pod) {
							out = append(out, "-A NP-OUT -s "+p.address+" -d "+peer.address+match+" -j RETURN")
						}
					}
					for _, match := range matches(rule.Ports, nil) {
						if strings.HasSuffix(match, " --dport 53") {
							out = append(out, "-A NP-OUT -s "+p.address+" -d "+e.dns+match+" -j RETURN")
						}
					}
				}
			}
		}
	}
	var text bytes.Buffer
	text.WriteString("*mangle\n:NP-IN -\n:NP-OUT -\n")
	for _, chain := range []string{"INPUT", "FORWARD"} {
		fmt.Fprintf(&text, "-F %s\n-A %s -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN\n", chain, chain)
	}
	text.WriteString("-A FORWARD -j NP-IN\n-A FORWARD -j NP-OUT\n-A INPUT -j NP-OUT\n")
	for _, lines := range [][]string{in, out, dropIn, dropOut} {
		slices.Sort(lines)
		for _, line := range slices.Compact(lines) {
			text.WriteString(line + "\n")
		}
	}
	text.WriteString("COMMIT\n")
	return text.String()
}

// addressed lists the pods that have an address of their own and have not ended.
func (e *enforcer) addressed() []pod {
	var list []pod
	seen := map[string]bool{}
	for _, o := range e.pods.GetStore().List() {
		p := o.(*core.Pod)
		key := p.Namespace + "/" + p.Name
		seen[key] = true
		if p.Spec.HostNetwork || p.Status.Phase == core.PodSucceeded || p.Status.Phase == core.PodFailed {
			continue
		}
		address := p.Status.PodIP
		if address != "" {
			delete(e.reported, key)
		} else if address = e.reported[key]; address == "" {
			continue
		}
		list = append(list, pod{p, address})
	}
	for key := range e.reported {
		if !seen[key] {
			delete(e.reported, key)
		}
	}
	return list
}

// peers are the addresses a rule's from or to means; none named means all. A
// peer that is no pod has no Pod.
func (e *enforcer) peers(named []networking.NetworkPolicyPeer, namespace string, pods []pod) []pod {
	if len(named) == 0 {
		return []pod{{nil, "0.0.0.0/0"}}
	}
	var list []pod
	for _, peer := range named {
		if peer.IPBlock != nil {
			for _, prefix := range without(prefixes(peer.IPBlock.CIDR)[0], prefixes(peer.IPBlock.Except...)) {
				list = append(list, pod{nil, prefix.String()})
			}
			continue
		}
		selector := labels.Everything()
		if peer.PodSelector != nil {
			selector = selectorOf(peer.PodSelector)
		}
		for _, p := range pods {
			if e.inScope(peer.NamespaceSelector, namespace, p.Namespace) && selector.Matches(labels.Set(p.Labels)) {
				list = append(list, p)
			}
		}
	}
	return list
}

func (e *enforcer) inScope(selector *meta.LabelSelector, own, namespace string) bool {
	if selector == nil {
		return namespace == own
	}
	o, found, _ := e.spaces.GetStore().GetByKey(namespace)
	return found && selectorOf(selector).Matches(labels.Set(o.(*core.Namespace).Labels))
}

// matches writes the ports of a rule as iptables matches. A port's name is
// looked up in the pod that is connected to.
func matches(ports []networking.NetworkPolicyPort, target *core.Pod) []string {
	if len(ports) == 0 {
		return []string{""}
	}
	var list []string
	for _, port := range ports {
		protocol := core.ProtocolTCP
		if port.Protocol != nil {
			protocol = *port.Protocol
		}
		match := " -p " + strings.ToLower(string(protocol))
		switch {
		case port.Port == nil:
			list = append(list, match)
		case port.Port.Type == intstr.String:
			if target == nil {
				continue
			}
			for _, c := range target.Spec.Containers {
				for _, p := range c.Ports {
					if p.Name == port.Port.StrVal && p.Protocol == protocol {
						list = append(list, fmt.Sprintf("%s --dport %d", match, p.ContainerPort))
					}
				}
			}
		case port.EndPort != nil:
			list = append(list, fmt.Sprintf("%s --dport %d:%d", match, port.Port.IntVal, *port.EndPort))
		default:
			list = append(list, fmt.Sprintf("%s --dport %d", match, port.Port.IntVal))
		}
	}
	return list
}

// without cuts the holes out of a prefix, by halving it until no half is cut.
func without(prefix netip.Prefix, holes []netip.Prefix) []netip.Prefix {
	for _, hole := range holes {
		if !hole.Overlaps(prefix) {
			continue
		}
		if hole.Bits() <= prefix.Bits() {
			return nil
		}
		bits := prefix.Bits() + 1
		upper := prefix.Addr().As4()
		upper[(bits-1)/8] |= 0x80 >> ((bits - 1) % 8)
		return append(without(netip.PrefixFrom(prefix.Addr(), bits), holes),
			without(netip.PrefixFrom(netip.AddrFrom4(upper), bits), holes)...)
	}
	return []netip.Prefix{prefix}
}

// prefixes skips what is not IPv4; a block that is none becomes one nobody is in.
func prefixes(cidrs ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, cidr := range cidrs {
		prefix, err := netip.ParsePrefix(cidr)
		if err != nil || !prefix.Addr().Is4() {
			prefix = netip.MustParsePrefix("255.255.255.255/32")
		}
		list = append(list, prefix.Masked())
	}
	return list
}

// selectorOf cannot fail: the API server has validated the selector.
func selectorOf(s *meta.LabelSelector) labels.Selector {
	selector, err := meta.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Nothing()
	}
	return selector
}
