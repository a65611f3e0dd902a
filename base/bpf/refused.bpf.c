// For bpf_test.cc: a program that no verifier lets through, because it reads past its context.
// clang-format off: the kernel's types come first
#include "vmlinux.h"
// clang-format on

#include <bpf/bpf_helpers.h>

SEC("socket")
int reads_too_far(struct __sk_buff *skb) { return *(volatile __u8 *)((void *)skb + 4096); }

char LICENSE[] SEC("license") = "GPL";
