// oneDNN's convolution, called directly, in each of the ways in which a program can have it; strict.py starts it and
// asks line by line:
//
//   layer batch groups in_channels out_channels input kernel stride dilation pad_begin pad_end output
//     -> ok PASS:WAY=IMPLEMENTATION ..          sizes are joined by x: 56x56
//   time PASS:WAY MILLISECONDS                  -> seconds of the fastest call of a burst
//   sum PASS:WAY                                -> what strict.py compares: the weighted sum of the result, and that of its amounts
//
// PASS is forward, backward_data or backward_weight. WAY:
//   nchw, nhwc       all tensors as the caller has them, weights too; where an implementation wants another order,
//                    reordering there and back is a part of the call
//   nchw_p, nhwc_p   the same, with the weights packed beforehand in the order the implementation likes best
//   blocked          every tensor in the order the implementation likes best, made beforehand
//
// oneDNN offers several implementations of a layer; the fastest of the first six counts.
#include <dnnl.hpp>

#include <chrono>
#include <cstdio>
#include <functional>
#include <iostream>
#include <list>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

using dnnl::memory;
using Dims = memory::dims;
using Tag = memory::format_tag;

static dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
static dnnl::stream queue(cpu);

static double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

static Dims sizes(const std::string &text) {
    Dims all;
    std::stringstream parts(text);
    for (std::string part; std::getline(parts, part, 'x');) all.push_back(std::stoll(part));
    return all;
}

// The numbers of every tensor, by their place in NCHW order and the tensor; ours.rs has the same.
static float value(size_t place, unsigned tensor) { return float((place * 40503 + tensor * 977) % 2048) / 1024 - 1; }

static Tag data_tag(size_t axes, bool last) {
    return axes == 1 ? (last ? Tag::nwc : Tag::ncw) : axes == 2 ? (last ? Tag::nhwc : Tag::nchw) : (last ? Tag::ndhwc : Tag::ncdhw);
}

static Tag weight_tag(size_t axes, bool last, bool groups) {
    if (groups) return axes == 1 ? (last ? Tag::gowi : Tag::goiw) : axes == 2 ? (last ? Tag::gohwi : Tag::goihw) : (last ? Tag::godhwi : Tag::goidhw);
    return axes == 1 ? (last ? Tag::owi : Tag::oiw) : axes == 2 ? (last ? Tag::ohwi : Tag::oihw) : (last ? Tag::odhwi : Tag::oidhw);
}

static void reorder(memory &from, memory &to) {
    dnnl::reorder(from, to).execute(queue, from, to);
    queue.wait();
}

// A tensor in NCHW order.
struct Plain {
    Dims dims;
    memory data;

    Plain() = default;
    Plain(Dims dims, Tag tag, unsigned tensor) : dims(dims), data({dims, memory::data_type::f32, tag}, cpu) {
        auto *at = static_cast<float *>(data.get_data_handle());
        size_t count = data.get_desc().get_size() / sizeof(float);
        for (size_t i = 0; i < count; i++) at[i] = value(i, tensor);
    }
};

struct Layer {
    size_t axes;
    bool groups;
    Dims stride, dilation, begin, end;
    Plain tensors[3]; // input, weight, output
};

// A call: reorders that belong to it, and the convolution.
struct Call {
    std::string name;
    std::vector<std::pair<dnnl::primitive, std::unordered_map<int, memory>>> steps;
    memory result;
    int tensor = 0; // which of the layer's tensors the result is

    void run(int times) {
        for (int i = 0; i < times; i++)
            for (auto &[step, arguments] : steps) step.execute(queue, arguments);
        queue.wait();
    }

    double burst(double milliseconds) {
        run(1);
        double start = now();
        run(1);
        double best = now() - start;
        int times = std::max(1, std::min(10000, int(3e-4 / best)));
        double end = now() + milliseconds * 1e-3;
        do {
            start = now();
            run(times);
            best = std::min(best, (now() - start) / times);
        } while (now() < end);
        return best;
    }
};

struct Way {
    const char *name;
    bool last, packed, blocked;
};
static const Way WAYS[] = {{"nchw", false, false, false}, {"nhwc", true, false, false}, {"nchw_p", false, true, false}, {"nhwc_p", true, true, false}, {"blocked", false, true, true}};
static const char *PASSES[] = {"forward", "backward_data", "backward_weight"};

// The call of one implementation, whose tensors are to lie as `wanted`.
static Call call_of(const Layer &layer, const Way &way, int pass, dnnl::primitive convolution, const memory::desc wanted[3], const memory::desc &scratch) {
    static const int INPUT[] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST}, GRADIENT[] = {DNNL_ARG_DIFF_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST};
    const int result = pass == 0 ? 2 : pass == 1 ? 0 : 1;
    Call call;
    call.tensor = result;
    std::unordered_map<int, memory> arguments{{DNNL_ARG_SCRATCHPAD, memory(scratch, cpu)}};
    std::vector<std::pair<dnnl::primitive, std::unordered_map<int, memory>>> after;
    for (int i = 0; i < 3; i++) {
        memory plain = layer.tensors[i].data, tensor(wanted[i], cpu);
        Tag tag = i == 1 ? weight_tag(layer.axes, way.last, layer.groups) : data_tag(layer.axes, way.last);
        memory::desc given(layer.tensors[i].dims, memory::data_type::f32, tag);
        bool beforehand = way.blocked || given == wanted[i] || (i == 1 && way.packed && i != result);
        memory callers = beforehand ? tensor : memory(given, cpu);
        if (i != result) reorder(plain, callers);
        if (!beforehand && i != result) call.steps.push_back({dnnl::reorder(callers, tensor), {{DNNL_ARG_FROM, callers}, {DNNL_ARG_TO, tensor}}});
        if (!beforehand && i == result) after.push_back({dnnl::reorder(tensor, callers), {{DNNL_ARG_FROM, tensor}, {DNNL_ARG_TO, callers}}});
        if (i == result) call.result = callers;
        bool gradient = pass != 0 && (i == result || i == 2);
        arguments[gradient ? GRADIENT[i] : INPUT[i]] = tensor;
    }
    call.steps.push_back({convolution, arguments});
    for (auto &step : after) call.steps.push_back(step);
    return call;
}

// The fastest of the implementations that `made` goes through.
template <class Description>
static void fastest(const Layer &layer, const Way &way, int pass, std::function<Description()> made, std::optional<std::pair<double, Call>> &best) {
    try {
        Description description = made();
        for (int tried = 0; tried < 6; tried++) {
            std::string name = description.impl_info_str();
            if (name.find("ref") == std::string::npos) {
                memory::desc wanted[3];
                if constexpr (std::is_same_v<Description, dnnl::convolution_forward::primitive_desc>)
                    wanted[0] = description.src_desc(), wanted[1] = description.weights_desc(), wanted[2] = description.dst_desc();
                else if constexpr (std::is_same_v<Description, dnnl::convolution_backward_data::primitive_desc>)
                    wanted[0] = description.diff_src_desc(), wanted[1] = description.weights_desc(), wanted[2] = description.diff_dst_desc();
                else
                    wanted[0] = description.src_desc(), wanted[1] = description.diff_weights_desc(), wanted[2] = description.diff_dst_desc();
                Call call = call_of(layer, way, pass, dnnl::primitive(description.get()), wanted, description.scratchpad_desc());
                call.name = name;
                double time = call.burst(3);
                if (!best || time < best->first) best = {time, call};
            }
            if (!description.next_impl()) break;
        }
    } catch (const dnnl::error &) {
        // No (further) implementation takes the layer in this way.
    }
}

static std::optional<Call> call(const Layer &layer, const Way &way, int pass) {
    using namespace dnnl;
    static std::list<convolution_forward::primitive_desc> forwards; // the gradients' descriptions refer to them
    std::optional<std::pair<double, Call>> best;
    primitive_attr attributes;
    attributes.set_scratchpad_mode(scratchpad_mode::user);
    // With the tensors as they are, and with those that the implementation would rather have.
    for (bool any : {false, true}) {
        if (way.blocked && !any) continue;
        memory::desc d[3];
        for (int i = 0; i < 3; i++) {
            bool own = i == 1 ? any || (way.packed && pass != 2) : any;
            Tag tag = i == 1 ? weight_tag(layer.axes, way.last, layer.groups) : data_tag(layer.axes, way.last);
            d[i] = memory::desc(layer.tensors[i].dims, memory::data_type::f32, own ? Tag::any : tag);
        }
        auto direct = algorithm::convolution_direct;
        const auto &[axes, groups, s, l, b, e, tensors] = layer;
        auto training = [&]() -> convolution_forward::primitive_desc & {
            memory::desc x[3];
            for (int i = 0; i < 3; i++) x[i] = memory::desc(layer.tensors[i].dims, memory::data_type::f32, Tag::any);
            forwards.emplace_back(cpu, prop_kind::forward_training, direct, x[0], x[1], x[2], s, l, b, e);
            return forwards.back();
        };
        if (pass == 0)
            fastest<convolution_forward::primitive_desc>(layer, way, pass, [&] { return convolution_forward::primitive_desc(cpu, prop_kind::forward_inference, direct, d[0], d[1], d[2], s, l, b, e, attributes); }, best);
        else if (pass == 1)
            fastest<convolution_backward_data::primitive_desc>(layer, way, pass, [&] { return convolution_backward_data::primitive_desc(cpu, direct, d[0], d[1], d[2], s, l, b, e, training(), attributes); }, best);
        else
            fastest<convolution_backward_weights::primitive_desc>(layer, way, pass, [&] { return convolution_backward_weights::primitive_desc(cpu, direct, d[0], d[1], d[2], s, l, b, e, training(), attributes); }, best);
    }
    if (!best) return {};
    return best->second;
}

static Layer layer_of(std::stringstream &words) {
    long batch, groups, in, out;
    std::string input, kernel, stride, dilation, begin, end, output;
    words >> batch >> groups >> in >> out >> input >> kernel >> stride >> dilation >> begin >> end >> output;
    Layer layer;
    layer.axes = sizes(input).size();
    layer.groups = groups > 1;
    layer.stride = sizes(stride), layer.dilation = sizes(dilation), layer.begin = sizes(begin), layer.end = sizes(end);
    for (auto &step : layer.dilation) step -= 1;
    Dims x{batch, in}, w = groups > 1 ? Dims{groups, out / groups, in / groups} : Dims{out, in}, y{batch, out};
    for (auto n : sizes(input)) x.push_back(n);
    for (auto n : sizes(kernel)) w.push_back(n);
    for (auto n : sizes(output)) y.push_back(n);
    layer.tensors[0] = Plain(x, data_tag(layer.axes, false), 0);
    layer.tensors[1] = Plain(w, weight_tag(layer.axes, false, layer.groups), 1);
    layer.tensors[2] = Plain(y, data_tag(layer.axes, false), 2);
    return layer;
}

int main() {
    auto version = dnnl_version();
    printf("ready oneDNN %d.%d.%d\n", version->major, version->minor, version->patch);
    fflush(stdout);
    Layer layer;
    std::map<std::string, Call> calls;
    for (std::string line; std::getline(std::cin, line);) {
        std::stringstream words(line);
        std::string command, name;
        words >> command;
        if (command == "layer") {
            calls.clear();
            layer = layer_of(words);
            printf("ok");
            for (auto &way : WAYS)
                for (int pass = 0; pass < 3; pass++)
                    if (!(pass == 2 && way.packed && !way.blocked))
                        if (auto made = call(layer, way, pass)) {
                            std::string key = std::string(PASSES[pass]) + ":" + way.name;
                            printf(" %s=%s", key.c_str(), made->name.c_str());
                            calls[key] = *made;
                        }
            printf("\n");
        } else if (command == "time") {
            double milliseconds;
            words >> name >> milliseconds;
            printf("%.9g\n", calls.at(name).burst(milliseconds));
        } else if (command == "sum") {
            words >> name;
            Call &call = calls.at(name);
            call.run(1);
            Plain plain = layer.tensors[call.tensor];
            memory copy(plain.data.get_desc(), cpu);
            reorder(call.result, copy);
            auto *at = static_cast<float *>(copy.get_data_handle());
            double sum = 0, amount = 0;
            for (size_t i = 0; i < copy.get_desc().get_size() / sizeof(float); i++) {
                double term = double(at[i]) * value(i, 3);
                sum += term, amount += std::abs(term);
            }
            printf("%.12g %.12g\n", sum, amount);
        }
        fflush(stdout);
    }
}
