#include "bench/client.h"

#include <array>
#include <csignal>

#include "bench/affinity.h"
#include "bench/connection_cap.h"
#include "bench/lone_requester.h"
#include "bench/server_choice.h"
#include "bench/tls/credentials.h"
#include "bench/tls_handshake/drive.h"
#include "bench/tls_handshake/tls_handshake.h"

namespace bench {
namespace {

using base::ErrorKind;
using tls::Context;
using tls::Session;
using Ticket = std::unique_ptr<SSL_SESSION, base::Freed<SSL_SESSION_free>>;

// One requester; it keeps the last ticket it was given.
class TlsRequester {
 public:
  TlsRequester(const ClientJob& job, int stop_fd)
      : job_(job), stop_fd_(stop_fd), request_(request_size(job.workload).count) {}

  base::Result<> set_up() {
    if (!job_.tls) return base::fail(ErrorKind::input, "tls: tls_handshake needs certificates");
    context_.reset(::SSL_CTX_new(::TLS_client_method()));
    if (!context_) return tls::openssl_error(ErrorKind::system, "a TLS context");
    SSL_CTX_set_min_proto_version(context_.get(), TLS1_2_VERSION);
    RETURN_IF_ERROR(tls::believe(context_.get(), job_.tls->authority));
    ::SSL_CTX_set_verify(context_.get(), SSL_VERIFY_PEER, nullptr);
    RETURN_IF_ERROR(tls::show(context_.get(), job_.tls->certificate, job_.tls->key, "the client"));
    if (!job_.tls->resumption) return {};
    SSL_CTX_set_session_cache_mode(context_.get(),
                                   SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_set_app_data(context_.get(), this);
    ::SSL_CTX_sess_set_new_cb(context_.get(), [](SSL* ssl, SSL_SESSION* ticket) {
      static_cast<TlsRequester*>(SSL_CTX_get_app_data(::SSL_get_SSL_CTX(ssl)))
          ->ticket_.reset(ticket);
      return 1;  // it is ours now
    });
    return {};
  }

  // On a connection that is established.
  ExchangeEnd handshake(int fd, base::MonotonicTime deadline) {
    session_.reset(::SSL_new(context_.get()));
    if (!session_ || ::SSL_set_fd(session_.get(), fd) != 1 ||
        ::SSL_set1_host(session_.get(), tls_server_name.data()) != 1 ||
        SSL_set_tlsext_host_name(session_.get(), tls_server_name.data()) != 1) {
      return {ExchangeEnd::Kind::failed, ENOMEM};
    }
    if (ticket_) ::SSL_set_session(session_.get(), ticket_.get());
    return tls::drive(
        session_.get(), [&] { return ::SSL_connect(session_.get()); }, deadline, stop_fd_);
  }

  ExchangeEnd exchange(base::MonotonicTime deadline, std::uint32_t& server_id) {
    const auto wanted = static_cast<std::uint32_t>(response_size(job_.workload).count);
    encode(RequestHeader{.request_bytes = static_cast<std::uint32_t>(request_.size()),
                         .response_bytes = wanted,
                         .sequence = ++sequence_},
           request_.data());
    auto end = tls::drive(
        session_.get(),
        [&] {
          return ::SSL_write(session_.get(), request_.data(), static_cast<int>(request_.size()));
        },
        deadline, stop_fd_);
    if (end.kind != ExchangeEnd::Kind::replied) return end;
    reader_.reset();
    for (auto state = FrameReader::State::incomplete; state != FrameReader::State::complete;) {
      int size = 0;
      end = tls::drive(
          session_.get(),
          [&] {
            return size = ::SSL_read(session_.get(), scratch_.data(),
                                     static_cast<int>(scratch_.size()));
          },
          deadline, stop_fd_);
      if (end.kind != ExchangeEnd::Kind::replied) return end;
      state = reader_.feed(scratch_.data(), static_cast<std::size_t>(size));
      if (state == FrameReader::State::malformed) return {ExchangeEnd::Kind::bad_reply};
    }
    const auto reply = reader_.header<ReplyHeader>();
    if (reply.response_bytes != wanted || reply.sequence != sequence_) {
      return {ExchangeEnd::Kind::bad_reply};
    }
    server_id = reply.server_id;
    return {};
  }

  void note(TlsFigures& figures) const {
    ++figures.handshakes;
    if (::SSL_session_reused(session_.get()) == 1) ++figures.resumed;
    if (!figures.version.empty()) return;
    figures.version = ::SSL_get_version(session_.get());
    figures.cipher = ::SSL_get_cipher_name(session_.get());
  }

  void close() {
    if (session_) ::SSL_shutdown(session_.get());
    ::ERR_clear_error();
    session_.reset();
  }

 private:
  const ClientJob& job_;
  int stop_fd_;
  Context context_;
  Session session_;
  Ticket ticket_;
  std::uint64_t sequence_ = 0;
  FrameReader reader_;
  std::vector<char> request_;
  std::array<char, 16384> scratch_{};
};

// The run's own looks at traffic ask for a pace.
class Pace {
 public:
  explicit Pace(const WorkloadSpec& spec)
      : interval_(spec.rate ? base::Duration(static_cast<std::int64_t>(1e9 / spec.rate->per_second))
                            : base::Duration(0)) {}
  void await(int stop_fd) {
    if (interval_.count() == 0) return;
    const auto now = base::monotonic_now();
    next_ = std::max(now, next_ + interval_);
    pollfd stop{.fd = stop_fd, .events = POLLIN, .revents = 0};
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(next_ - now);
    if (left.count() > 0) ::poll(&stop, 1, static_cast<int>(left.count()));
  }

 private:
  base::Duration interval_;
  base::MonotonicTime next_;
};

}  // namespace

base::Result<ClientResult> run_tls_handshakes(const ClientJob& job, int stop_fd) {
  // OpenSSL writes without MSG_NOSIGNAL, and a server may end before all is written.
  (void)::signal(SIGPIPE, SIG_IGN);
  if (job.servers.empty()) return base::fail(ErrorKind::input, "servers: expected at least one");
  ASSIGN_OR_RETURN(const auto pinned, PinnedThread::to(job.cpu));
  TlsRequester requester(job, stop_fd);
  RETURN_IF_ERROR(requester.set_up());
  RETURN_IF_ERROR(await_begin(job, stop_fd));
  auto closed_loop = job;
  closed_loop.workload.rate.reset();
  Meter meter(closed_loop, WaitStrategy::block);
  ServerChoice choice(job.servers, job.seed);
  ConnectionCap cap(job.most_connections_per_minute);
  Pace pace(job.workload);
  Phases phases(job.workload, meter, stop_fd);
  TlsFigures figures{.client_certificate = !job.tls->certificate.empty()};
  auto now = base::monotonic_now();
  for (;;) {
    if (cap.set()) now = await_turn<WaitStrategy::block>(cap, now, stop_fd, meter);
    pace.await(stop_fd);
    now = base::monotonic_now();
    const auto next = phases.at(now);
    if (next == Phases::Next::stopped) return stopped_early();
    if (next == Phases::Next::finished) break;
    const auto& server = choice.next();
    const auto begun = base::monotonic_now();
    const auto deadline = begun + job.workload.timeout;
    auto fd = connect_within(server.endpoint, job.workload.timeout, stop_fd);
    if (!fd) [[unlikely]] {
      if (fd.error() == EINTR) return stopped_early();
      meter.connect_failed(fd.error(), server.endpoint);
      if (meter.nothing_ever_connected()) return std::unexpected(meter.first_connect_error());
      rest_after_failure(stop_fd);
      continue;
    }
    if (const int code = bound_waits(fd->get(), wait_slice(job.workload)); code != 0) {
      return base::system_error(code, "setsockopt for {}", server.endpoint);
    }
    auto end = requester.handshake(fd->get(), deadline);
    const auto shaken = base::monotonic_now();
    std::uint32_t server_id = 0;
    if (end.kind == ExchangeEnd::Kind::replied) end = requester.exchange(deadline, server_id);
    const auto replied = base::monotonic_now();
    meter.connection_opened(fd->get());
    if (end.kind == ExchangeEnd::Kind::replied && meter.window_open()) [[likely]] {
      requester.note(figures);
      meter.connected(shaken - begun);
      meter.request_done(replied - begun, server_id);
    }
    requester.close();
    meter.connection_closing(fd->get());
    fd->reset();
    if (end.kind == ExchangeEnd::Kind::stopped) return stopped_early();
    if (end.kind != ExchangeEnd::Kind::replied) {
      count_exchange_end(end, meter.errors());
      rest_after_failure(stop_fd);
    } else if (meter.window_open()) {
      meter.occupied_beyond_latency(base::monotonic_now() - replied);
    }
  }
  auto result = meter.result();
  result.tls = figures;
  return result;
}

}  // namespace bench
