// In the place of what ndarray 1.0 (MIT) builds from text at run time, which the page's policy
// forbids: the same views, written out. `order` is ndarray's own.
function viewsWithoutEval(dtype, dimension, constructors) {
  const generic = dtype === "generic";
  const given = (value) => typeof value === "number" && value >= 0;

  class View {
    constructor(data, shape, stride, offset) {
      this.data = data;
      this.shape = shape;
      this.stride = stride;
      this.offset = offset | 0;
    }
    get size() {
      return dimension < 0 ? 0 : this.shape.reduce((product, length) => product * length, 1);
    }
    get order() {
      return order.call(this);
    }
    index(...at) {
      if (dimension < 0) {
        return -1;
      }
      return this.stride.reduce((sum, step, axis) => sum + step * at[axis], this.offset);
    }
    get(...at) {
      if (dimension < 0) {
        return undefined;
      }
      const place = this.index(...at);
      return generic ? this.data.get(place) : this.data[place];
    }
    set(...at) {
      if (dimension < 0) {
        return undefined;
      }
      const place = this.index(...at);
      const value = at[dimension];
      return generic ? this.data.set(place, value) : (this.data[place] = value);
    }
    hi(...to) {
      const shape = this.shape.map((length, axis) => (given(to[axis]) ? to[axis] | 0 : length));
      return new View(this.data, shape, [...this.stride], this.offset);
    }
    lo(...from) {
      const cut = this.shape.map((_length, axis) => (given(from[axis]) ? from[axis] | 0 : 0));
      const shape = this.shape.map((length, axis) => length - cut[axis]);
      return new View(this.data, shape, [...this.stride], dimension < 0 ? 0 : this.index(...cut));
    }
    step(...by) {
      const shape = [...this.shape];
      const stride = [...this.stride];
      let offset = this.offset;
      for (let axis = 0; axis < dimension; axis += 1) {
        if (typeof by[axis] === "number") {
          const step = by[axis] | 0;
          offset += step < 0 ? stride[axis] * (shape[axis] - 1) : 0;
          shape[axis] = Math.ceil((step < 0 ? -shape[axis] : shape[axis]) / step);
          stride[axis] *= step;
        }
      }
      return new View(this.data, shape, stride, offset);
    }
    transpose(...axes) {
      const from = this.shape.map((_length, axis) =>
        axes[axis] === undefined ? axis : axes[axis] | 0,
      );
      const shape = from.map((axis) => this.shape[axis]);
      return new View(this.data, shape, from.map((axis) => this.stride[axis]), this.offset);
    }
    pick(...at) {
      if (dimension < 0) {
        return null;
      }
      const kept = this.shape.map((_length, axis) => axis).filter((axis) => !given(at[axis]));
      const offset = this.stride.reduce(
        (sum, step, axis) => (given(at[axis]) ? (sum + step * at[axis]) | 0 : sum),
        this.offset,
      );
      const shape = kept.map((axis) => this.shape[axis]);
      const stride = kept.map((axis) => this.stride[axis]);
      // ndarray's own 0-d view picks a trivial one.
      return constructors[dimension === 0 ? 0 : kept.length + 1](this.data, shape, stride, offset);
    }
    valueOf() {
      return dimension === 0 ? this.get() : this;
    }
  }
  View.prototype.dtype = dtype;
  View.prototype.dimension = dimension;

  return (data, shape, stride, offset) =>
    dimension > 0
      ? new View(data, shape.slice(0, dimension), stride.slice(0, dimension), offset)
      : new View(data, [], [], offset);
}
