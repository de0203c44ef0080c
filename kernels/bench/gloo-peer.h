// The collectives of Gloo, as a peer to measure ours against: its default all-reduce and its reduce-scatter, over TCP on this host.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <gloo/allreduce.h>
#include <gloo/barrier.h>
#include <gloo/math.h>
#include <gloo/reduce_scatter.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>

class GlooPeer {
 public:
  GlooPeer(int rank, int size, const std::string& folder) {
    gloo::transport::tcp::attr attr;
    attr.hostname = "127.0.0.1";
    device_ = gloo::transport::tcp::CreateDevice(attr);
    store_ = std::make_unique<gloo::rendezvous::FileStore>(folder);
    context_ = std::make_shared<gloo::rendezvous::Context>(rank, size);
    context_->connectFullMesh(*store_, device_);
  }

  void barrier() {
    gloo::BarrierOptions options(context_);
    options.setTag(tag_++);
    gloo::barrier(options);
  }

  void all_reduce(float* data, size_t count) {
    gloo::AllreduceOptions options(context_);
    options.setOutput(data, count);
    options.setReduceFunction(static_cast<void (*)(void*, const void*, const void*, size_t)>(&gloo::sum<float>));
    options.setTag(tag_++);
    gloo::allreduce(options);
  }

  /** An algorithm object is made once and runs many times, as Gloo wants it. */
  std::unique_ptr<gloo::Algorithm> reduce_scatter(float* data, size_t count) {
    const size_t size = static_cast<size_t>(context_->size);
    return std::make_unique<gloo::ReduceScatterHalvingDoubling<float>>(context_, std::vector<float*>{data}, static_cast<int>(count),
                                                                       std::vector<int>(size, static_cast<int>(count / size)));
  }

 private:
  std::shared_ptr<gloo::transport::Device> device_;
  std::unique_ptr<gloo::rendezvous::FileStore> store_;
  std::shared_ptr<gloo::rendezvous::Context> context_;
  uint32_t tag_ = 1;
};
