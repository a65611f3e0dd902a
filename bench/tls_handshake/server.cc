#include "bench/server.h"

#include <array>
#include <csignal>

#include <poll.h>

#include "bench/affinity.h"
#include "bench/measure.h"
#include "bench/tls/credentials.h"
#include "bench/tls_handshake/drive.h"
#include "bench/tls_handshake/tls_handshake.h"

namespace bench {
namespace {

using base::ErrorKind;
using Kind = ExchangeEnd::Kind;

// Of one connection: who says nothing for so long is given up, for others wait.
constexpr base::Duration patience = std::chrono::seconds(2);

class TlsServerLoop {
 public:
  TlsServerLoop(const ServerJob& job, std::vector<base::UniqueFd> listeners, int stop_fd)
      : job_(job), listeners_(std::move(listeners)), stop_fd_(stop_fd) {}

  base::Result<> set_up() {
    if (!job_.tls) return base::fail(ErrorKind::input, "tls: tls_handshake needs certificates");
    context_.reset(::SSL_CTX_new(::TLS_server_method()));
    if (!context_) return tls::openssl_error(ErrorKind::system, "a TLS context");
    SSL_CTX_set_min_proto_version(context_.get(), TLS1_2_VERSION);
    RETURN_IF_ERROR(tls::show(context_.get(), job_.tls->certificate, job_.tls->key, "the server"));
    RETURN_IF_ERROR(tls::believe(context_.get(), job_.tls->authority));
    if (job_.tls->client_certificate) {
      ::SSL_CTX_set_verify(context_.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
                           nullptr);
    }
    if (job_.tls->resumption) {
      // A session with a client's certificate goes on only in the same context (RFC 8446, 4.6.1).
      constexpr std::string_view context = "stackbench";
      ::SSL_CTX_set_session_id_context(context_.get(),
                                       reinterpret_cast<const unsigned char*>(context.data()),
                                       static_cast<unsigned>(context.size()));
    } else {
      SSL_CTX_set_session_cache_mode(context_.get(), SSL_SESS_CACHE_OFF);
      ::SSL_CTX_set_options(context_.get(), SSL_OP_NO_TICKET);
      ::SSL_CTX_set_num_tickets(context_.get(), 0);
    }
    return {};
  }

  base::Result<ServerResult> run() {
    const auto begun = ThreadUsage::now();
    prepare_arrivals(job_, result_);
    std::vector<pollfd> watched{{.fd = stop_fd_, .events = POLLIN, .revents = 0}};
    for (const auto& listener : listeners_) watched.push_back({listener.get(), POLLIN, 0});
    while (!stopped_) {
      if (::poll(watched.data(), watched.size(), -1) < 0 && errno != EINTR) {
        return base::system_error(errno, "poll");
      }
      if (watched.front().revents != 0) break;
      for (std::size_t i = 1; i < watched.size() && !stopped_; ++i) {
        if (watched[i].revents != 0) accept(watched[i].fd);
      }
    }
    note_usage(begun, result_);
    return result_;
  }

 private:
  void accept(int listener) {
    const base::UniqueFd client(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    if (!client) return;
    if (job_.note_arrivals) note_arrival(result_);
    if (result_.connections++ < clients_noted) {
      base::SocketAddress peer;
      if (::getpeername(client.get(), peer.get(), peer.capacity()) == 0) {
        if (const auto endpoint = peer.endpoint()) ++result_.clients[endpoint->address.to_string()];
      }
    }
    const tls::Session session(::SSL_new(context_.get()));
    if (!session || ::SSL_set_fd(session.get(), client.get()) != 1) return;
    const auto deadline = base::monotonic_now() + patience;
    const auto end = serve(session.get(), deadline);
    stopped_ = end.kind == Kind::stopped;
    if (end.kind == Kind::bad_reply) ++result_.bad_requests;
  }

  // Until the client ends it, which keeps TIME_WAIT with the side that chose the port.
  ExchangeEnd serve(SSL* session, base::MonotonicTime deadline) {
    auto end = tls::drive(session, [&] { return ::SSL_accept(session); }, deadline, stop_fd_);
    FrameReader reader;
    while (end.kind == Kind::replied) {
      int size = 0;
      end = tls::drive(
          session,
          [&] {
            return size = ::SSL_read(session, scratch_.data(), static_cast<int>(scratch_.size()));
          },
          deadline, stop_fd_);
      if (end.kind != Kind::replied) break;
      const auto state = reader.feed(scratch_.data(), static_cast<std::size_t>(size));
      if (state == FrameReader::State::malformed) return {Kind::bad_reply};
      if (state == FrameReader::State::incomplete) continue;
      end = answer(session, reader.header<RequestHeader>(), deadline);
      reader.reset();
    }
    return end;
  }

  ExchangeEnd answer(SSL* session, const RequestHeader& request, base::MonotonicTime deadline) {
    if (!sound_length(request.response_bytes)) return {Kind::bad_reply};
    reply_.assign(request.response_bytes, '\0');
    encode(ReplyHeader{.response_bytes = request.response_bytes,
                       .server_id = job_.server_id,
                       .sequence = request.sequence},
           reply_.data());
    const auto end = tls::drive(
        session,
        [&] { return ::SSL_write(session, reply_.data(), static_cast<int>(reply_.size())); },
        deadline, stop_fd_);
    if (end.kind == Kind::replied) ++result_.requests;
    return end;
  }

  const ServerJob& job_;
  std::vector<base::UniqueFd> listeners_;
  int stop_fd_;
  tls::Context context_;
  bool stopped_ = false;
  ServerResult result_;
  std::vector<char> reply_;
  std::array<char, 16384> scratch_{};
};

}  // namespace

base::Result<ServerResult> run_tls_server(
    const ServerJob& job, int stop_fd,
    const std::function<void(const std::vector<base::Endpoint>&)>& on_listening) {
  (void)::signal(SIGPIPE, SIG_IGN);
  ASSIGN_OR_RETURN(const auto pinned, PinnedThread::to(job.cpu));
  std::vector<base::UniqueFd> listeners;
  std::vector<base::Endpoint> bound;
  for (const auto& endpoint : job.listen) {
    ASSIGN_OR_RETURN(auto listener, listen_tcp(endpoint));
    // Connections inherit it, so that no blocking call outlasts a look.
    if (const int code = bound_waits(listener.get(), server_look); code != 0) {
      return base::system_error(code, "setsockopt for {}", endpoint);
    }
    ASSIGN_OR_RETURN(const auto local, local_endpoint(listener.get()));
    bound.push_back(local);
    listeners.push_back(std::move(listener));
  }
  TlsServerLoop loop(job, std::move(listeners), stop_fd);
  RETURN_IF_ERROR(loop.set_up());
  if (on_listening) on_listening(bound);
  return loop.run();
}

}  // namespace bench
