#include "bgp-peer/route_batch.h"

#include <algorithm>
#include <array>
#include <memory>

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/socket.h>
#include <sys/socket.h>

#include "base/freed.h"

namespace bgp_peer {
namespace {

using base::Result;

using Request = std::unique_ptr<nl_msg, base::Freed<nlmsg_free>>;

}  // namespace

Result<> RouteBatch::add(rtnl_route* route, bool removed) {
  nl_msg* built = nullptr;
  const int code = removed ? rtnl_route_build_del_request(route, 0, &built)
                           : rtnl_route_build_add_request(route, NLM_F_REPLACE, &built);
  if (code < 0) {
    return base::fail(base::ErrorKind::system, "a request about a route: {}", nl_geterror(code));
  }
  const Request request(built);
  auto* header = nlmsg_hdr(request.get());
  header->nlmsg_seq = nl_socket_use_seq(socket_);
  header->nlmsg_pid = nl_socket_get_local_port(socket_);
  header->nlmsg_flags |= NLM_F_REQUEST;
  sequences_.push_back(header->nlmsg_seq);
  const auto* begin = reinterpret_cast<const char*>(header);
  bytes_.insert(bytes_.end(), begin, begin + header->nlmsg_len);
  bytes_.resize(NLMSG_ALIGN(bytes_.size()));
  return {};
}

Result<std::vector<int>> RouteBatch::send() {
  std::vector<int> codes(sequences_.size(), 0);
  if (codes.empty()) return codes;
  // The last request is answered whatever becomes of it.
  std::size_t last = 0;
  for (std::size_t at = 0; at < bytes_.size();) {
    last = at;
    at += NLMSG_ALIGN(reinterpret_cast<const nlmsghdr*>(bytes_.data() + at)->nlmsg_len);
  }
  reinterpret_cast<nlmsghdr*>(bytes_.data() + last)->nlmsg_flags |= NLM_F_ACK;
  if (const int code = nl_sendto(socket_, bytes_.data(), bytes_.size()); code < 0) {
    return base::fail(base::ErrorKind::system, "requests about routes: {}", nl_geterror(code));
  }
  RETURN_IF_ERROR(take_answers(codes));
  return codes;
}

// They are there when the call that asked returns.
Result<> RouteBatch::take_answers(std::vector<int>& codes) const {
  alignas(nlmsghdr) std::array<char, 8192> answer{};
  for (;;) {
    const auto size = ::recv(nl_socket_get_fd(socket_), answer.data(), answer.size(), MSG_DONTWAIT);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return base::system_error(errno, "the kernel's answers about routes");
    const auto* header = reinterpret_cast<const nlmsghdr*>(answer.data());
    for (auto left = static_cast<int>(size); nlmsg_ok(header, left);
         header = nlmsg_next(const_cast<nlmsghdr*>(header), &left)) {
      const auto of = std::ranges::find(sequences_, header->nlmsg_seq);
      if (header->nlmsg_type != NLMSG_ERROR || of == sequences_.end()) continue;
      const int error = static_cast<const nlmsgerr*>(nlmsg_data(header))->error;
      codes[static_cast<std::size_t>(of - sequences_.begin())] =
          error == 0 ? 0 : -nl_syserr2nlerr(error);
      if (of + 1 == sequences_.end()) return {};
    }
  }
}

Result<> pass_over_asked_by(nl_sock* listener, const nl_sock* one, const nl_sock* other) {
  // The sender's port, fourth of a header's words: a filter reads it in the network's order.
  const std::array program{
      sock_filter{BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(nlmsghdr, nlmsg_pid)},
      sock_filter{BPF_JMP | BPF_JEQ | BPF_K, 2, 0, htonl(nl_socket_get_local_port(one))},
      sock_filter{BPF_JMP | BPF_JEQ | BPF_K, 1, 0, htonl(nl_socket_get_local_port(other))},
      sock_filter{BPF_RET | BPF_K, 0, 0, 0xffffffff}, sock_filter{BPF_RET | BPF_K, 0, 0, 0}};
  const sock_fprog attached{.len = program.size(),
                            .filter = const_cast<sock_filter*>(program.data())};
  if (::setsockopt(nl_socket_get_fd(listener), SOL_SOCKET, SO_ATTACH_FILTER, &attached,
                   sizeof(attached)) < 0) {
    return base::system_error(errno, "a filter for the kernel's word on routes");
  }
  return {};
}

}  // namespace bgp_peer
